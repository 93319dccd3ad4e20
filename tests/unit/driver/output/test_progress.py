# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import NOTE, Check
from rich.console import Console

from noslop_driver.ansible.events import Event, Failure, HostStats, Outcome, Status, failure_of, message_of, read_stats
from noslop_driver.output.progress import Report, show_checks
from noslop_driver.output.terminal import Terminal


def event(kind: str, host: str = "", task: str = "", result: dict[str, Any] | None = None, **more: Any) -> Event:  # noqa: ANN401
    return Event(kind=kind, time="", host=host, task=task, result=result or {}, **more)


def terminal(*, live: bool) -> tuple[Terminal, io.StringIO]:
    made, text = Terminal(), io.StringIO()
    made.out = made.err = Console(file=text, width=100, force_terminal=live, color_system=None, highlight=False)
    return made, text


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


def test_plain_lines_say_what_changed_and_what_failed_with_advice() -> None:
    made, text = terminal(live=False)
    report = Report(made, advice=lambda failure: f"mend {failure.host}")
    report.begin("1/5 storage")
    for step in RUN:
        report.event(step)
    report.end(OUTCOME)
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
        "    → mend worker1",
    ]


def test_live_table_shows_each_host_and_leaves_only_the_summary() -> None:
    made, text = terminal(live=True)
    report = Report(made)
    report.begin("1/5 storage")
    for step in RUN:
        report.event(step)
    report.note("Stopping.")
    report.end(OUTCOME)
    shown = text.getvalue()
    assert "Export [the] directories" in shown
    assert "Stopping." in shown
    rest = shown.rsplit("\x1b[2K", 1)[-1]
    assert "✗ 1/5 storage: failed" in rest
    assert "host    task" not in rest


def test_what_a_role_tells_is_shown_once() -> None:
    made, text = terminal(live=False)
    report = Report(made)
    report.begin("teardown")
    for host in ("one", "two"):
        report.event(event("ok", host, "Tell", {"msg": "Kept: /srv"}, action="ansible.builtin.debug"))
    report.event(event("ok", "one", "Run", {"msg": "not for people"}, action="ansible.builtin.command"))
    assert text.getvalue().count("Kept: /srv") == 1
    assert "not for people" not in text.getvalue()


def test_what_ansible_says_when_it_cannot_run_is_shown() -> None:
    made, text = terminal(live=False)
    report = Report(made)
    report.begin("storage")
    report.end(Outcome(Status.ERROR, 1, output="no [playbook] there"))
    assert "no [playbook] there" in text.getvalue()


def check(host: str, name: str, *, ok: bool = True, seen: str = "it", share: str = "") -> Check:
    return Check(host=host, check=name, share=share, ok=ok, seen=seen, expected="that", todo="" if ok else "do this")


def test_checks_are_a_table_and_what_failed_is_told_once_with_what_to_do() -> None:
    made, text = terminal(live=False)
    checks = [
        check("one", "storage.mounted"),
        check("one", "storage.marker", ok=False, seen="none", share="projects"),
        check("two", "storage.marker", ok=False, seen="none", share="projects"),
        check("two", "services.ollama", seen=f"{NOTE}an old one"),
    ]
    show_checks(checks, made)
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
def test_messages_of_failures(result: dict[str, Any], message: str) -> None:
    assert message_of(result) == message


def test_ignored_failures_are_none() -> None:
    assert failure_of(event("failed", "one", result={"msg": "no"}, ignored=True)) is None
    assert failure_of(event("ok", "one")) is None


def test_events_of_runner_that_say_nothing_to_us_are_passed_over() -> None:
    assert Event.from_runner({"event": "playbook_on_notify", "event_data": {}}) is None
    made = Event.from_runner({"event": "runner_on_ok", "event_data": {"host": "one", "res": {"changed": True}}})
    assert made
    assert (made.kind, made.host, made.changed) == ("ok", "one", True)


def test_recap() -> None:
    made = read_stats(event("stats", result={"ok": {"a": 3}, "changed": {"a": 1}, "dark": {"b": 1}, "processed": {}}))
    assert made == {"a": HostStats(ok=3, changed=1), "b": HostStats(unreachable=1)}
