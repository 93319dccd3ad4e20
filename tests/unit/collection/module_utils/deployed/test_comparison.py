# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how a host is compared with what it was after its last deployment."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.deployed import comparison

BEFORE = {"/etc/noslop/node.env": {"mode": "0644", "content": "aa"}, "/opt/noslop": {"mode": "0755"}}


@pytest.mark.parametrize(
    ("after", "difference"),
    [
        ({"/opt/noslop": {"mode": "0755"}}, ["/etc/noslop/node.env is missing"]),
        ({**BEFORE, "/opt/noslop": {"mode": "0777"}}, ["/opt/noslop: mode is 0777, and was 0755"]),
        ({**BEFORE, "/opt/noslop": {}}, ["/opt/noslop: mode is nothing, and was 0755"]),
        ({**BEFORE, "/opt/noslop": {"mode": "0755", "more": "x"}}, ["/opt/noslop: more is x, and was nothing"]),
        (
            {**BEFORE, "/etc/noslop/node.env": {"mode": "0644", "content": "bb"}},
            ["/etc/noslop/node.env: its content changed"],
        ),
        ({**BEFORE, "/etc/noslop/mine": {"mode": "0600"}}, []),
        (BEFORE, []),
    ],
)
def test_differences_are_named_and_what_is_new_is_none(after: dict[str, dict[str, str]], difference: list[str]) -> None:
    assert comparison.find_differences(BEFORE, after) == difference


@pytest.mark.parametrize(
    ("name", "was", "now", "differs"),
    [
        ("active", "active", "inactive", True),
        ("active", "active", "failed", True),
        ("active", "active", "activating", True),
        ("active", "inactive", "active", False),
        ("active", "activating", "active", False),
        ("waits for a reload of systemd", "no", "yes", True),
        ("waits for a reload of systemd", "yes", "no", False),
        ("enabled", "masked", "enabled", True),
    ],
)
def test_unit_that_began_to_run_is_no_difference(name: str, was: str, now: str, differs: bool) -> None:
    found = comparison.find_differences({"a.service": {name: was}}, {"a.service": {name: now}})
    assert bool(found) is differs


def test_each_area_is_a_check_of_its_own_and_a_missing_one_fails() -> None:
    checks = Checks("one")
    comparison.judge(checks, {"files": BEFORE, "units": {"a": {"b": "c"}}, "kernel": {}}, {"files": BEFORE})
    assert [(check["check"], check["ok"], check["seen"]) for check in checks.list] == [
        ("deployed.files", True, "2 as they were"),
        ("deployed.units", False, "a is missing"),
        ("deployed.kernel", True, "0 as they were"),
    ]


def test_many_differences_are_shortened() -> None:
    checks = Checks("one")
    comparison.judge(checks, {"files": {f"/file{number}": {} for number in range(500)}}, {})
    assert len(checks.list[0]["seen"]) <= 600
