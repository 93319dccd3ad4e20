# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translate the events of ansible-runner into the driver's own events, failures and outcomes.

The live table, the JSON result and the deployment record are all made from this one stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ansible_collections.noslop.studio.plugins.plugin_utils import reports

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
RECORDED = ("attempts", "changed", "kept", "rc", reports.KEY, "skip_reason", "unreachable")
"""Keys of a task's result that a record keeps. Output of programs, their arguments and diffs may contain secrets."""
RECORDED_OF_FAILURES = ("msg", "module_stderr", "reason", "stderr")
"""Keys that a record keeps in addition for a failed task."""
DIFF_EVENT = "runner_on_file_diff"
"""The event of ansible-runner with a diff. It is shown and never recorded: a diff may contain secrets."""
TASK_END_KINDS = frozenset({"ok", "failed", "skipped", "unreachable"})
"""Kinds of the events that end a task on a host."""


class Status(StrEnum):
    """The way a playbook ended."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    INTERRUPTED = "interrupted"
    ERROR = "error"
    """Ansible itself could not run the playbook: `Outcome.output` has its message."""


@dataclass(frozen=True)
class Event:
    """An event of a run.

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
    """True when the task failed and the playbook ignores the failure."""
    result: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    """The text of a warning or an error."""

    @classmethod
    def from_runner(cls, raw: Mapping[str, Any]) -> Event | None:
        """Translate an event of ansible-runner; return None for an event that the driver does not use."""
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
        """Return the event for the record, with those keys of the task's result that a record keeps."""
        failed = self.kind in ("failed", "unreachable", "item_failed", "retry")
        # The counts of `stats` are in the record's outcome.
        result = {} if self.kind == "stats" else _select_recorded(self.result, failed=failed)
        fields = {
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
        return {name: value for name, value in fields.items() if value not in ("", {}, False)}


@dataclass(frozen=True)
class Failure:
    """A task that failed on a host, or a host that could not be reached for a task."""

    host: str
    task: str
    message: str
    unreachable: bool = False
    path: str = ""


@dataclass(frozen=True)
class HostStats:
    """Numbers of tasks on one host, by the way they ended."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run of a playbook."""

    status: Status
    rc: int
    stats: dict[str, HostStats] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    output: str = ""
    """The output of Ansible outside of events, when it could not run the playbook at all."""
    left_running: list[str] = field(default_factory=list)
    """Hosts on which a task was running at the interrupt and could not be ended."""

    @property
    def ok(self) -> bool:
        """Return whether every task succeeded on every host."""
        return self.status is Status.OK

    @property
    def changed(self) -> int:
        """Return the number of changed tasks on all hosts."""
        return sum(stats.changed for stats in self.stats.values())


def read_stats(event: Event) -> dict[str, HostStats]:
    """Return the statistics of a run, one entry a host, from its `stats` event."""
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
    for ansible_name, field_name in names.items():
        for host, count in (event.result.get(ansible_name) or {}).items():
            counts.setdefault(host, {})[field_name] = int(count)
    return {host: HostStats(**count) for host, count in sorted(counts.items())}


def read_failure(event: Event) -> Failure | None:
    """Return the failure that an event reports, or None."""
    if event.kind not in ("failed", "unreachable") or event.ignored:
        return None
    return Failure(
        host=event.host,
        task=event.task,
        message=read_message(event.result),
        unreachable=event.kind == "unreachable",
        path=event.path,
    )


def read_message(result: Mapping[str, Any]) -> str:
    """Return the message of a failed result, of its failed items, or the output of the program."""
    items = [item for item in result.get("results") or [] if isinstance(item, Mapping)]
    # ansible-core 2.21 no longer marks an item as failed, but still adds its exception.
    failed = [item for item in items if item.get("failed") or item.get("unreachable") or "exception" in item]
    if failed:
        return "\n".join(_drop_duplicates(f"{_format_item_name(item)}{read_message(item)}" for item in failed))
    message = _to_text(result.get("msg"))
    details = [_to_text(result.get(name)) for name in ("stderr", "module_stderr", "reason")]
    detail = next((text for text in details if text and text not in message), "")
    lines = [message, *detail.splitlines()[-5:]]
    text = "\n".join(line for line in lines if line)
    return text or _to_text(result.get("stdout")) or _to_text(result.get("censored")) or "no message was given"


def _select_recorded(result: Mapping[str, Any], *, failed: bool) -> dict[str, Any]:
    names = (*RECORDED, *RECORDED_OF_FAILURES) if failed else RECORDED
    recorded: dict[str, Any] = {name: result[name] for name in names if name in result}
    items = [item for item in result.get("results") or [] if isinstance(item, Mapping)]
    if items:
        recorded["results"] = [_select_recorded(item, failed=failed) for item in items]
    return recorded


def _format_item_name(item: Mapping[str, Any]) -> str:
    label = item.get("_ansible_item_label", item.get("item"))
    return f"{label}: " if isinstance(label, (str, int)) else ""


def _to_text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "\n".join(_to_text(item) for item in value)
    return str(value).strip() if value else ""


def _drop_duplicates(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))
