# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the report of a probe of several hosts and file systems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import is_note
from ansible_collections.noslop.studio.plugins.module_utils.probe import directory, features, speed
from ansible_collections.noslop.studio.plugins.plugin_utils import probe_report

SHARES = [
    {"name": "projects", "path": "/mnt/noslop/projects", "owner": "noslop"},
    {"name": "comfyui_models", "path": "/mnt/noslop/comfyui/models", "owner": "noslop-models"},
]
ACCOUNTS = [
    {"name": "noslop", "uid": os.geteuid(), "gid": os.getegid()},
    {"name": "noslop-models", "uid": 2601, "gid": 2601},
]
HOSTS = ["server", "worker"]


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, Any]:
    """Return what a host measures on this disk."""
    with directory.open_path(str(tmp_path)) as place:
        tested = features.test_features(place)
        measured = speed.measure_speed(place, small_files=1, large_bytes=1024)
    return {"features": tested, "speed": measured}


def test_each_host_and_file_system_is_judged_by_its_own_account(measured: dict[str, Any]) -> None:
    results = {
        "server": [
            {
                "measured": {"projects": measured, "comfyui_models": measured},
                "root_errors": {"projects": "", "comfyui_models": "root: Permission denied"},
            }
        ]
    }

    checks = probe_report.judge_results(["server"], results, SHARES, ACCOUNTS)

    failed = {(one["host"], one["check"], one["share"]) for one in checks if not one["ok"]}
    assert failed == {("server", "probe.owner", "comfyui_models"), ("server", "probe.root", "comfyui_models")}


def test_host_without_results_is_a_failed_check(measured: dict[str, Any]) -> None:
    results: dict[str, list[dict[str, Any]]] = {
        "server": [{"measured": {"projects": measured}, "root_errors": {"projects": ""}}],
        "worker": [{"unreachable": True, "msg": "no route to host"}],
    }

    checks = probe_report.judge_results(HOSTS, results, SHARES, ACCOUNTS)

    failed = [one for one in checks if not one["ok"]]
    assert [(one["host"], one["check"]) for one in failed] == [("worker", "host.reachable")]


def test_check_mode_is_a_note() -> None:
    (check,) = probe_report.report_unmeasured()

    assert is_note(check)
    assert "in check mode nothing is written" in check["seen"]
