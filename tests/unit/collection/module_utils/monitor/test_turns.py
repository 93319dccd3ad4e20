# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test when a check counts as bad, since when, and when others are informed of it."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check
from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Deliveries, Entry
from ansible_collections.noslop.studio.plugins.module_utils.monitor import turns
from hypothesis import given
from hypothesis import strategies as st


def make(name: str, ok: bool, share: str = "projects", observed: str = "it is so") -> Check:
    return Check(host="here", check=name, share=share, ok=ok, seen=observed, expected="", todo="" if ok else "mend it")


def follow(results: str, name: str = "storage.written", *, deliver: bool = True) -> tuple[list[Entry], list[str]]:
    """Run one check a minute: `g` is good, `b` bad, `B` bad while the host is deployed. Return the messages too."""
    entries: list[Entry] = []
    messages = []
    for minute, result in enumerate(results):
        excused = result == "B"
        entries = turns.update(entries, [make(name, result == "g")], 60.0 * minute, excused=excused)
        turned = [] if excused else turns.find_turned(entries)
        messages.append("".join("good" if entry.ok else "bad" for entry in turned))
        if deliver:
            entries = turns.mark_announced(entries, turned)
    return entries, messages


@pytest.mark.parametrize(
    ("results", "messages"),
    [
        ("gggg", ["", "", "", ""]),
        ("gbg", ["", "", ""]),
        ("gbbb", ["", "", "bad", ""]),
        ("bbgg", ["", "bad", "good", ""]),
        ("bbgbgbbg", ["", "bad", "good", "", "", "", "bad", "good"]),
        ("BBBb", ["", "", "", ""]),
        ("BBBbb", ["", "", "", "", "bad"]),
        ("bbBBg", ["", "bad", "", "", "good"]),
    ],
)
def test_others_are_informed_once_of_what_is_bad_twice_in_a_row_and_once_when_it_is_good(
    results: str, messages: list[str]
) -> None:
    assert follow(results)[1] == messages


def test_message_that_was_not_delivered_is_due_until_it_is_void() -> None:
    assert follow("bbbg", deliver=False)[1] == ["", "bad", "bad", ""]


@given(st.text("gbB", max_size=30))
def test_messages_alternate_and_end_with_the_present_state(results: str) -> None:
    entries, messages = follow(results)
    delivered = [message for message in messages if message]
    assert delivered == [("bad", "good")[number % 2] for number in range(len(delivered))]
    if results.endswith(("g", "bb")):
        assert bool(entries[0].announced) == results.endswith("bb")


@pytest.mark.parametrize(("results", "since"), [("ggg", 0), ("gbb", 60), ("gbg", 120), ("BBb", 0)])
def test_since_is_the_time_of_the_turn(results: str, since: float) -> None:
    (entry,) = follow(results)[0]
    assert entry.since == since


@pytest.mark.parametrize(("results", "ok"), [("b", True), ("gb", True), ("bb", False), ("BBB", True), ("bbg", True)])
def test_one_slow_write_is_no_failure(results: str, ok: bool) -> None:
    (entry,) = follow(results, "storage.slow")[0]
    assert entry.ok is ok


def test_checks_of_one_name_and_share_are_one() -> None:
    checks = [
        make("storage.inodes", ok, "", observed)
        for ok, observed in [(True, "one"), (False, "two"), (True, "three"), (False, "four")]
    ]
    (merged,) = turns.merge(checks)
    assert (merged["ok"], merged["seen"]) == (False, "two; four")


def test_announced_check_that_cannot_be_made_stays_bad_while_anything_is() -> None:
    bad = [make("storage.options", False)]
    entries = turns.update(turns.update([], bad, 0, excused=False), bad, 60, excused=False)
    entries = turns.mark_announced(entries, turns.find_turned(entries))
    entries = turns.update(entries, [make("storage.mounted", False)], 120, excused=False)
    assert [(entry.check, entry.ok) for entry in entries] == [("storage.mounted", False), ("storage.options", False)]
    assert turns.find_turned(entries) == []
    good = [make("storage.mounted", True), make("storage.options", True)]
    entries = turns.update(entries, good, 180, excused=False)
    assert [entry.check for entry in turns.find_turned(entries)] == ["storage.options"]
    assert turns.update(entries, [make("storage.mounted", True)], 240, excused=False)[0].check == "storage.mounted"


def deliver_all(until_s: int, error: str) -> list[float]:
    """Try to deliver each half minute, as runs do. Return the times of the attempts."""
    deliveries, attempts = Deliveries(), []
    for now in range(0, until_s, 30):
        if turns.may_deliver(deliveries, now):
            deliveries = turns.add_delivery(deliveries, now, error)
            attempts.append(float(now))
    return attempts


def test_failed_requests_are_tried_again_after_growing_pauses() -> None:
    attempts = deliver_all(3600, "refused")
    pauses = [after - before for before, after in itertools.pairwise(attempts)]
    assert pauses == [30, 60, 120, 240, 480, 900, 900]


@pytest.mark.parametrize("error", ["", "refused"])
def test_requests_are_at_most_a_dozen_an_hour(error: str) -> None:
    attempts = deliver_all(6 * 3600, error)
    assert max(sum(start <= at < start + 3600 for at in attempts) for start in attempts) <= turns.HOURLY_LIMIT
    assert attempts[-1] > 5 * 3600, "it never gives up"


def test_attempts_of_a_clock_that_was_ahead_delay_nothing() -> None:
    deliveries = Deliveries([10_000.0] * 20, 3, "refused")
    assert turns.may_deliver(deliveries, 500.0)
    assert turns.add_delivery(deliveries, 500.0, "").attempts == [500.0]
