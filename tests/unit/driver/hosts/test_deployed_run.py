# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what is read from the looks at hosts, which may return anything."""

from __future__ import annotations

from typing import Any

import pytest

from noslop_driver.ansible.events import Event, Failure, Outcome, Status
from noslop_driver.hosts.deployed_run import HostLook, parse_events

CHECK = {"host": "other", "check": "c", "share": "", "ok": True, "seen": "s", "expected": "e", "todo": "", "more": 1}
RESULT: dict[str, Any] = {
    "deployment": "abc", "fingerprint": {"inventory": "1"}, "finished": "2026-01-01T00:00:00Z", "checks": [CHECK],
}  # fmt: skip


def parse(result: dict[str, Any], outcome: Outcome = Outcome(Status.OK, 0)) -> HostLook:  # noqa: B008 - frozen
    event = Event(kind="ok", time="", host="one", result=result)
    (look,) = parse_events(["one"], [event], outcome)
    return look


def test_look_of_a_host_has_its_own_name_in_each_check() -> None:
    look = parse(RESULT)
    assert (look.host, look.deployment, look.fingerprint, look.error) == ("one", "abc", {"inventory": "1"}, "")
    assert [(check["host"], check["check"], check["ok"]) for check in look.checks] == [("one", "c", True)]


@pytest.mark.parametrize(
    "change",
    [
        {"checks": None},
        {"checks": "text"},
        {"checks": [{"check": "c"}]},
        {"fingerprint": "text"},
        {"fingerprint": None},
    ],
)
def test_other_results_are_an_error_of_that_host(change: dict[str, Any]) -> None:
    assert parse({**RESULT, **change}).error == "it returned something else than a look"


def test_check_passes_only_where_its_result_is_true() -> None:
    look = parse({**RESULT, "checks": [{**CHECK, "ok": "no"}]})
    assert look.checks[0]["ok"] is False


def test_host_without_a_result_has_the_reason_of_ansible() -> None:
    failure = Failure("one", "Compare", "sudo is broken")
    assert parse({}, Outcome(Status.FAILED, 2, failures=[failure])).error == "sudo is broken"
    assert parse({}, Outcome(Status.ERROR, 1, output="no such playbook")).error == "no such playbook"
    assert parse({}).error == "it did not answer"
