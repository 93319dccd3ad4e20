# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the check of what a host announces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import announce_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit

RUNS = Unit("avahi-daemon.service", "loaded", "active")
FAILED = Unit("avahi-daemon.service", "loaded", "failed", result="exit-code")


def judge(expected: Mapping[str, int], announced: Mapping[str, int], unit: Unit = RUNS) -> Check:
    checks = Checks("worker1")
    announce_checks.judge_announcements(checks, expected, announced, unit)
    (check,) = checks.list
    assert check["check"] == "services.announced"
    return check


def test_announced_services_pass() -> None:
    check = judge({"ollama": 11434}, {"ollama": 11434})
    assert (check["ok"], check["seen"]) == (True, "ollama with port 11434")


@pytest.mark.parametrize(
    ("expected", "announced", "unit", "problem"),
    [
        ({"ollama": 11434}, {}, RUNS, "ollama is not announced"),
        ({}, {"comfyui": 8188}, RUNS, "comfyui is announced"),
        ({"ollama": 11434}, {"ollama": 11500}, RUNS, "ollama is announced with port 11500"),
        ({"ollama": 11434}, {"ollama": 11434}, FAILED, "avahi-daemon.service is failed (exit-code)"),
    ],
)
def test_what_differs_is_named_with_the_step(
    expected: Mapping[str, int], announced: Mapping[str, int], unit: Unit, problem: str
) -> None:
    check = judge(expected, announced, unit)
    assert (check["ok"], check["seen"]) == (False, problem)
    assert "services playbook again for worker1" in check["todo"]


def test_daemon_that_does_not_run_is_no_problem_where_nothing_is_to_be_announced() -> None:
    assert judge({}, {"ollama": 11434}, FAILED)["seen"] == "ollama is announced"


def test_host_without_announcements_has_no_check() -> None:
    checks = Checks("worker1")
    announce_checks.check_where_announced(checks, {"announce": False, "ollama": True, "ollama_port": 1}, ["ollama"])
    announce_checks.check_where_announced(checks, {"announce": True, "ollama": False, "ollama_port": 1}, ["ollama"])
    assert checks.list == []


def test_port_is_read_from_the_file_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "noslop-ollama.service").write_text("<service>\n    <port>11434</port>\n</service>", encoding="utf-8")
    assert announce_checks.read_port("ollama", str(tmp_path)) == 11434
    assert announce_checks.read_port("comfyui", str(tmp_path)) == 0
