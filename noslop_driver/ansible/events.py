# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible says while a playbook runs, in the driver's own words: events, failures and the outcome.

Table, JSON and deployment record are all made from one stream of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_TASK_ENDS = {"runner_on_ok": "ok", "runner_on_failed": "failed", "runner_on_skipped": "skipped"}
_KINDS = {
    **_TASK_ENDS,
    "runner_on_unreachable": "unreachable",
    "runner_on_start": "start",
    "runner_on_async_poll": "async_poll",
    "runner_item_on_failed": "item_failed",
    "runner_retry": "retry",
    "playbook_on_play_start": "play",
    "playbook_on_task_start": "task",
    "playbook_on_no_hosts_matched": "no_hosts",
    "playbook_on_stats": "stats",
    "warning": "warning",
    "deprecated": "warning",
    "error": "error",
}
RECORDED = ("attempts", "changed", "kept", "rc", "report", "skip_reason", "unreachable")
"""What the record keeps of a task's result. What a program printed, its arguments and diffs may have secrets."""
RECORDED_OF_FAILURES = ("msg", "module_stderr", "reason", "stderr")
"""And of one that failed."""
ENDED = frozenset({"ok", "failed", "skipped", "unreachable"})
"""Kinds that say that a host is done with a task."""


class Status(StrEnum):
    """How a playbook ended."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    INTERRUPTED = "interrupted"
    ERROR = "error"
    """Ansible itself could not run it: `Outcome.output` says why."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    `kind` is one of start, ok, failed, skipped, unreachable, async_poll, item_failed, retry (on a host), play, task,
    no_hosts, stats, warning, error.
    """

    kind: str
    time: str
    """ISO 8601, UTC."""
    host: str = ""
    play: str = ""
    task: str = ""
    action: str = ""
    path: str = ""
    """`file:line` of the task."""
    changed: bool = False
    ignored: bool = False
    """It failed, and the playbook says that this does not matter."""
    result: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    """What a warning or an error says."""

    @classmethod
    def from_runner(cls, raw: Mapping[str, Any]) -> Event | None:
        """Translate an event of ansible-runner; None for those that the driver has no use for."""
        kind = _KINDS.get(str(raw.get("event")))
        if kind is None:
            return None
        data: Mapping[str, Any] = raw.get("event_data") or {}
        result = data if kind == "stats" else data.get("res")
        return cls(
            kind=kind,
            time=str(raw.get("created", "")),
            host=str(data.get("host") or ""),
            play=str(data.get("play") or data.get("name") or ""),
            task=str(data.get("task") or ""),
            action=str(data.get("task_action") or ""),
            path=str(data.get("task_path") or ""),
            changed=bool(isinstance(result, Mapping) and result.get("changed") and kind == "ok"),
            ignored=bool(data.get("ignore_errors")),
            result=result if isinstance(result, Mapping) else {},
            text=str(raw.get("stdout") or "").strip() if kind in ("warning", "error") else "",
        )

    def as_json(self) -> dict[str, Any]:
        """Return the event for the record, with what is listed of the task's result."""
        failed = self.kind in ("failed", "unreachable", "item_failed", "retry")
        # The counts of `stats` are in the record's outcome.
        result = {} if self.kind == "stats" else _listed(self.result, failed=failed)
        found = {
            "time": self.time,
            "kind": self.kind,
            "host": self.host,
            "play": self.play,
            "task": self.task,
            "action": self.action,
            "path": self.path,
            "changed": self.changed,
            "ignored": self.ignored,
            "text": self.text,
            "result": result,
        }
        return {name: value for name, value in found.items() if value not in ("", {}, False)}


@dataclass(frozen=True)
class Failure:
    """A task that failed on a host, or a host that could not be reached while it was to run."""

    host: str
    task: str
    message: str
    unreachable: bool = False
    path: str = ""


@dataclass(frozen=True)
class HostStats:
    """How many tasks ended which way on one host."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True)
class Outcome:
    """How one run of a playbook ended."""

    status: Status
    rc: int
    stats: dict[str, HostStats] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    output: str = ""
    """What Ansible printed outside of events, when it could not run at all."""
    left_running: list[str] = field(default_factory=list)
    """Hosts on which a task was running when we were interrupted, and could not be ended."""

    @property
    def ok(self) -> bool:
        """True when every task on every host did what it should."""
        return self.status is Status.OK

    @property
    def changed(self) -> int:
        """Number of changed tasks on all hosts."""
        return sum(stats.changed for stats in self.stats.values())


def read_stats(event: Event) -> dict[str, HostStats]:
    """The recap of a run, one entry a host."""
    names = {
        "ok": "ok",
        "changed": "changed",
        "failures": "failed",
        "dark": "unreachable",
        "skipped": "skipped",
        "rescued": "rescued",
        "ignored": "ignored",
    }
    counts: dict[str, dict[str, int]] = {}
    for theirs, ours in names.items():
        for host, count in (event.result.get(theirs) or {}).items():
            counts.setdefault(host, {})[ours] = int(count)
    return {host: HostStats(**count) for host, count in sorted(counts.items())}


def failure_of(event: Event) -> Failure | None:
    """The failure that an event tells of, if it does."""
    if event.kind not in ("failed", "unreachable") or event.ignored:
        return None
    return Failure(
        host=event.host,
        task=event.task,
        message=message_of(event.result),
        unreachable=event.kind == "unreachable",
        path=event.path,
    )


def message_of(result: Mapping[str, Any]) -> str:
    """What a failed result says: its message, those of the items that failed, or what the program printed."""
    items = [item for item in result.get("results") or [] if isinstance(item, Mapping)]
    # ansible-core 2.21 no longer says of an item that it failed, but still why.
    failed = [item for item in items if item.get("failed") or item.get("unreachable") or "exception" in item]
    if failed:
        return "\n".join(_unique(f"{_item_name(item)}{message_of(item)}" for item in failed))
    message = _text(result.get("msg"))
    details = [_text(result.get(name)) for name in ("stderr", "module_stderr", "reason")]
    detail = next((text for text in details if text and text not in message), "")
    lines = [message, *detail.splitlines()[-5:]]
    found = "\n".join(line for line in lines if line)
    return found or _text(result.get("stdout")) or _text(result.get("censored")) or "no message was given"


def _listed(result: Mapping[str, Any], *, failed: bool) -> dict[str, Any]:
    names = (*RECORDED, *RECORDED_OF_FAILURES) if failed else RECORDED
    listed: dict[str, Any] = {name: result[name] for name in names if name in result}
    items = [item for item in result.get("results") or [] if isinstance(item, Mapping)]
    if items:
        listed["results"] = [_listed(item, failed=failed) for item in items]
    return listed


def _item_name(item: Mapping[str, Any]) -> str:
    label = item.get("_ansible_item_label", item.get("item"))
    return f"{label}: " if isinstance(label, (str, int)) else ""


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "\n".join(_text(item) for item in value)
    return str(value).strip() if value else ""


def _unique(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))
