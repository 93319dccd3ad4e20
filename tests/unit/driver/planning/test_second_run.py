# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a deployment has to do, by the looks at its hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks

from noslop_driver.hosts.deployed_run import HostLook
from noslop_driver.planning.second_run import Need, decide

NOW = {"inventory": "1", "program": "2", "named files": "3", "made files": "4"}


def look(host: str, *, ok: bool = True) -> HostLook:
    checks = Checks(host)
    checks.add("deployed.units", ok, seen="noslop-ollama.service: enabled is masked", expected="", todo="deploy")
    checks.add("deployed.files", True, seen="5 as they were", expected="", todo="")
    return HostLook(host, "abc", NOW, "2026-01-01T00:00:00Z", checks.list)


ONE, TWO = look("one"), look("two")


def test_nothing_is_to_be_done_where_all_is_as_it_was() -> None:
    assert decide(NOW, [ONE, TWO]).need is Need.NOTHING


def test_drift_names_its_hosts_and_has_the_checks_that_failed() -> None:
    decision = decide(NOW, [ONE, look("two", ok=False), look("three", ok=False)])
    assert decision.need is Need.DRIFT
    assert decision.reason == "two, three changed since the last deployment"
    assert [(check["host"], check["check"]) for check in decision.drift] == [
        ("two", "deployed.units"),
        ("three", "deployed.units"),
    ]


@pytest.mark.parametrize(
    ("looks", "computed", "reason"),
    [
        ([ONE, TWO], ["noslop_x"], "computes noslop_x anew"),
        ([ONE, HostLook("two", error="no route")], [], "two (no route)"),
        ([ONE, HostLook("two")], [], "no record of a whole deployment on two"),
        ([ONE, replace(TWO, deployment="older")], [], "records of different deployments"),
        ([ONE, replace(TWO, fingerprint={**NOW, "inventory": "0"})], [], "the inventory has changed"),
        ([replace(ONE, fingerprint={**NOW, "program": "0"})], [], "NoSlop or Ansible has changed"),
        ([replace(ONE, fingerprint={"inventory": "1"})], [], "NoSlop or Ansible has changed and a file"),
        ([replace(ONE, fingerprint={**NOW, "newer": "0"})], [], "newer has changed"),
        ([], [], "records of different deployments"),
    ],
)
def test_everything_is_to_be_done_where_the_record_says_nothing(
    looks: list[HostLook], computed: list[str], reason: str
) -> None:
    # Drift beside it does not matter.
    drifted = [replace(one, checks=look(one.host, ok=False).checks) if one.checks else one for one in looks]
    for given in (looks, drifted):
        decision = decide(NOW, given, computed)
        assert decision.need is Need.EVERYTHING
        assert reason in decision.reason
        assert decision.drift == ()
