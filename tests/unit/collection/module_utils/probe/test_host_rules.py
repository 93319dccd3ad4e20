# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rule about root, who passes the directories above a share for each service."""

from __future__ import annotations

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.probe import host_rules


def test_root_that_does_not_reach_a_share_is_refused_with_the_way_out() -> None:
    checks = Checks("worker")
    host_rules.judge_root(checks, "worker", {"projects": "", "media_cache": "root: Permission denied"})

    assert [(one["share"], one["ok"]) for one in checks.list] == [("projects", True), ("media_cache", False)]
    assert "chmod o+x" in checks.list[1]["todo"]
    assert "allow_other" in checks.list[1]["todo"]
