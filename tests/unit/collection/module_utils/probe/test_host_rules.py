# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rules about one host: root reaches the shares, and what worked once still works."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.probe import directory, host_rules, steps
from ansible_collections.noslop.studio.plugins.module_utils.probe.requirements import Place


def test_root_that_does_not_reach_a_share_is_refused_with_the_way_out() -> None:
    checks = Checks("worker")
    host_rules.judge_root(checks, "worker", {"projects": "", "media_cache": "root: Permission denied"})

    assert [(one["share"], one["ok"]) for one in checks.list] == [("projects", True), ("media_cache", False)]
    assert "chmod o+x" in checks.list[1]["todo"]
    assert "allow_other" in checks.list[1]["todo"]


def test_features_that_still_work_are_one_check_and_leave_nothing(tmp_path: Path) -> None:
    tested = steps.test_share(str(tmp_path), directory.make_name("atelier", "worker.1"))
    place = Place("projects", str(tmp_path), "noslop", os.geteuid(), os.getegid())
    checks = Checks("worker")

    host_rules.judge_features_again(checks, place, "worker", tested)

    assert [(one["check"], one["ok"]) for one in checks.list] == [("probe.features", True)]
    assert os.listdir(tmp_path) == []


def test_features_that_no_longer_work_are_failed_and_what_was_always_missing_is_not_repeated(tmp_path: Path) -> None:
    tested = steps.test_share(str(tmp_path), directory.make_name("atelier", "worker.1"))
    tested["replace"], tested["symlinks"] = "Operation not permitted", "Operation not permitted"
    place = Place("projects", str(tmp_path), "noslop", os.geteuid(), os.getegid())
    checks = Checks("worker")

    host_rules.judge_features_again(checks, place, "worker", tested)

    assert [(one["check"], one["ok"]) for one in checks.list] == [("probe.replace", False)]
