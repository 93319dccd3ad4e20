# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what is read from the answers of hosts, which may return anything."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from noslop_driver.ansible.events import Event, Failure, Outcome, Status
from noslop_driver.hosts.status_run import HostAnswer, parse_answer
from noslop_driver.inventory.directory import Member

MEMBER = Member("one", "192.0.2.1", 22, "artist", frozenset({"comfyui"}), {})
STATE: dict[str, Any] = {
    "deployed": "",
    "services": [
        {
            "service": "comfyui", "version": "0.33.0", "unit": "active", "problem": "",
            "models": None, "running": 1, "waiting": 0,
        }
    ],
    "gpus": [{"name": "card", "memory_mib": None, "used_mib": None, "load_percent": 3, "problem": ""}],
    "room": [{"name": "/", "path": "/", "size": 10, "free": 3, "problem": ""}],
    "units": [{"unit": "noslop-x.service", "state": "failed", "restarts": 0, "lines": ["error"]}],
    "problems": [],
    "monitor": {"finished": 1.7e9, "phase": "", "bad": []},
}  # fmt: skip


def parse(state: object, outcome: Outcome = Outcome(Status.OK, 0)) -> HostAnswer:  # noqa: B008 - frozen
    return parse_answer(MEMBER, [Event(kind="ok", time="", host="one", result={"studio_status": state})], outcome)


def fail(message: str, *, unreachable: bool = False) -> HostAnswer:
    failure = Failure("one", "Read", message, unreachable=unreachable)
    return parse_answer(MEMBER, [], Outcome(Status.FAILED, 2, failures=[failure]))


def test_answer_of_a_host_is_its_state() -> None:
    answer = parse(STATE)
    assert answer == HostAnswer("one", up=True, state=answer.state)
    assert answer.state == STATE


def test_keys_that_are_not_described_are_left_out() -> None:
    state = copy.deepcopy(STATE)
    state["films"] = state["room"][0]["films"] = "x"
    assert parse(state).state == STATE


@pytest.mark.parametrize("name", STATE)
@pytest.mark.parametrize("value", [None, 7, [7], {"x": 1}, [{"name": 1}], "text"])
def test_other_answers_are_a_reason_and_no_state(name: str, value: object) -> None:
    answer = parse({**STATE, name: value})
    if name == "deployed" and value == "text":
        assert answer.state
    else:
        assert (answer.up, answer.state) == (True, None)
        assert answer.reason == "one returned something else than its state."


@pytest.mark.parametrize(
    "message",
    [
        "Failed to connect to the host via ssh: ssh: connect to host 192.0.2.1 port 22: Connection timed out",
        "ssh: connect to host 192.0.2.1 port 22: No route to host",
        "Timed out after 20 second(s).",
    ],
)
def test_host_that_does_not_answer_is_away(message: str) -> None:
    answer = fail(message, unreachable=True)
    assert (answer.up, answer.state) == (False, None)
    assert answer.reason.startswith("one (192.0.2.1) ")
    assert answer.todo


def test_host_that_refuses_is_up() -> None:
    answer = fail("Permission denied (publickey).", unreachable=True)
    assert (answer.up, answer.state) == (True, None)
    assert "refused the login of artist" in answer.reason


def test_host_without_an_event_is_away() -> None:
    assert not parse_answer(MEMBER, [], Outcome(Status.OK, 0)).up
