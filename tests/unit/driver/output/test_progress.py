# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import NOTE, Check
from rich.console import Console

from noslop_driver.ansible.events import (
    Event,
    Failure,
    HostStats,
    Outcome,
    Status,
    read_failure,
    read_message,
    read_stats,
)
from noslop_driver.output import progress as output
from noslop_driver.output.progress import Progress, print_checks
from noslop_driver.output.terminal import Terminal


def event(kind: str, host: str = "", task: str = "", result: dict[str, Any] | None = None, **more: Any) -> Event:  # noqa: ANN401
    return Event(kind=kind, time="", host=host, task=task, result=result or {}, **more)


def make_terminal(*, live: bool) -> tuple[Terminal, io.StringIO]:
    result, text = Terminal(), io.StringIO()
    result.out = result.err = Console(file=text, width=100, force_terminal=live, color_system=None, highlight=False)
    return result, text


RUN = [
    event("task", task="noslop.studio.nfs_server : configure | Export [the] directories"),
    event("start", "server", "noslop.studio.nfs_server : configure | Export [the] directories"),
    event("start", "worker1", "noslop.studio.nfs_server : configure | Export [the] directories"),
    event("ok", "server", "configure | Export [the] directories", changed=True),
    event("failed", "worker1", "configure | Export [the] directories"),
]
OUTCOME = Outcome(
    Status.FAILED,
    2,
    {"server": HostStats(ok=1, changed=1), "worker1": HostStats(failed=1)},
    [Failure("worker1", "configure | Export [the] directories", "no [such] file\nanother line")],
)


def test_plain_lines_report_changes_and_failures_with_advice() -> None:
    terminal, text = make_terminal(live=False)
    progress = Progress(terminal, advice=lambda failure: f"repair {failure.host}")
    progress.start_phase("1/5 storage")
    for step in RUN:
        progress.show_event(step)
    progress.end_phase(OUTCOME)
    lines = text.getvalue().splitlines()
    assert lines[:4] == [
        "1/5 storage",
        "  nfs_server : configure | Export [the] directories",
        "    server: changed",
        "    worker1: failed",
    ]
    assert "1/5 storage: failed: 2 hosts, 1 ok, 1 changed, failed on 1" in lines[4]
    assert lines[5:] == [
        "  worker1 failed: configure | Export [the] directories",
        "    no [such] file",
        "    another line",
        "    → repair worker1",
    ]


def test_live_table_is_replaced_by_the_summary() -> None:
    terminal, text = make_terminal(live=True)
    progress = Progress(terminal)
    progress.start_phase("1/5 storage")
    for step in RUN:
        progress.show_event(step)
    progress.print_note("Stopping.")
    progress.end_phase(OUTCOME)
    shown = text.getvalue()
    assert "Export [the] directories" in shown
    assert "Stopping." in shown
    rest = shown.rsplit("\x1b[2K", 1)[-1]
    assert "✗ 1/5 storage: failed" in rest
    assert "host    task" not in rest


def test_message_of_a_role_is_printed_once() -> None:
    terminal, text = make_terminal(live=False)
    progress = Progress(terminal)
    progress.start_phase("teardown")
    for host in ("one", "two"):
        progress.show_event(event("ok", host, "Report", {"msg": "Kept: /srv"}, action="ansible.builtin.debug"))
    progress.show_event(event("ok", "one", "Run", {"msg": "not for people"}, action="ansible.builtin.command"))
    assert text.getvalue().count("Kept: /srv") == 1
    assert "not for people" not in text.getvalue()


def test_output_of_ansible_is_printed_when_it_cannot_run() -> None:
    terminal, text = make_terminal(live=False)
    progress = Progress(terminal)
    progress.start_phase("storage")
    progress.end_phase(Outcome(Status.ERROR, 1, output="no [playbook] there"))
    assert "no [playbook] there" in text.getvalue()


def check(host: str, name: str, *, ok: bool = True, seen: str = "it", share: str = "") -> Check:
    return Check(host=host, check=name, share=share, ok=ok, seen=seen, expected="that", todo="" if ok else "do this")


def test_checks_are_a_table_and_failed_ones_are_listed_once() -> None:
    terminal, text = make_terminal(live=False)
    checks = [
        check("one", "storage.mounted"),
        check("one", "storage.marker", ok=False, seen="none", share="projects"),
        check("two", "storage.marker", ok=False, seen="none", share="projects"),
        check("two", "services.ollama", seen=f"{NOTE}an old one"),
    ]
    print_checks(checks, terminal)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert lines[1].split() == ["host", "storage", "services"]
    assert lines[2].split() == ["one", "✗", "1", "of", "2"]
    assert lines[3].split() == ["two", "✗", "1", "of", "1", "✓", "1"]
    assert lines[4:] == [
        "✗ one, two: storage.marker (projects)",
        "    seen:     none",
        "    expected: that",
        "    → do this",
        "Note: two: services.ollama: an old one",
    ]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"msg": "no"}, "no"),
        ({"msg": ["one", "two"]}, "one\ntwo"),
        ({"msg": "non-zero return code", "stderr": "bash: x: not found"}, "non-zero return code\nbash: x: not found"),
        ({"msg": "said x: not found", "stderr": "x: not found"}, "said x: not found"),
        ({"results": [{"failed": True, "msg": "no", "item": "a"}, {"msg": "yes", "item": "b"}]}, "a: no"),
        ({"censored": "hidden"}, "hidden"),
        ({"stdout": "only this"}, "only this"),
        ({}, "no message was given"),
    ],
)
def test_message_is_read_from_a_failed_result(result: dict[str, Any], message: str) -> None:
    assert read_message(result) == message


def test_ignored_failures_are_not_failures() -> None:
    assert read_failure(event("failed", "one", result={"msg": "no"}, ignored=True)) is None
    assert read_failure(event("ok", "one")) is None


def test_unused_events_of_ansible_runner_are_dropped() -> None:
    assert Event.from_runner({"event": "playbook_on_notify", "event_data": {}}) is None
    translated = Event.from_runner({"event": "runner_on_ok", "event_data": {"host": "one", "res": {"changed": True}}})
    assert translated
    assert (translated.kind, translated.host, translated.changed) == ("ok", "one", True)


def test_read_stats_returns_counts_by_host() -> None:
    stats = read_stats(event("stats", result={"ok": {"a": 3}, "changed": {"a": 1}, "dark": {"b": 1}, "processed": {}}))
    assert stats == {"a": HostStats(ok=3, changed=1), "b": HostStats(unreachable=1)}


def test_table_that_the_caller_draws_has_the_time_of_its_clock() -> None:
    terminal, text = make_terminal(live=True)
    times = iter([100.0, 103.0, 103.0, 115.0])
    progress = Progress(terminal, clock=lambda: next(times), draws=False)
    progress.start_phase("1/1 storage")
    for one in RUN[:3]:
        progress.show_event(one)
    assert text.getvalue() == ""
    terminal.out.print(progress.render_table())
    assert "1/1 storage 15 s" in text.getvalue()
    assert "Export [the] directories (12 s)" in text.getvalue()


@pytest.mark.parametrize("live", [True, False])
def test_details_of_a_long_task_are_shown(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "DETAILS_S", 0.01)
    asked = threading.Event()

    def read_details() -> list[str]:
        asked.set()
        return ["a.safetensors: 1.0 GB of 2.0 GB \x1b[31m"]

    terminal, text = make_terminal(live=live)
    progress = Progress(terminal, details=read_details)
    progress.start_phase("1/1 models")
    progress.show_event(event("start", "server", "Fetch"))
    assert asked.wait(timeout=60)
    progress.close()
    assert "a.safetensors: 1.0 GB of 2.0 GB" in text.getvalue()
