# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that `status` shows what hosts had noticed by themselves at the last verification."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.checks import monitor_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks
from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Entry, Status

from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.models import StudioSettings
from noslop_driver.records import Record
from noslop_driver.secrets import Secrets
from tests.support.driver_cli import run_json
from tests.support.plays import local_inventory

NOW = 1_700_000_000.0
BAD = Entry("storage.mounted", "projects", False, NOW - 600, 20, True, "nothing is mounted there", "nfs4", "mount it")


def judge(host: str, status: Status | None) -> Check:
    """Return the check of a host as verification makes it."""
    checks = Checks(host)
    monitor_checks.judge_monitor(checks, status, NOW)
    return checks.list[0]


def test_status_shows_what_was_bad_and_since_when(tmp_path: Path) -> None:
    studio = StudioDirectory(local_inventory(tmp_path / "inventory", ["one", "two", "three"]))
    studio.make_state_dir()
    studio.write_settings(StudioSettings(studio_id="abc"))
    bad = Status("one", "abc", "boot", NOW - 10, 0.2, "", [BAD])
    good = Status("two", "abc", "boot", NOW - 20, 0.2, "deploying", [])
    checks = [judge("one", bad), judge("two", good), judge("three", None)]
    record = Record(studio.records, "verify", Secrets())
    record.write_verification({"ok": False, "checks": checks})
    record.finish(1, "", "test")

    status, done = run_json("status", "--cached", "--inventory", str(studio.path))

    assert status["monitors"] == {
        "one": {
            "checked": "2023-11-14T22:13:10+00:00",
            "phase": "",
            "bad": [
                {
                    "check": "storage.mounted",
                    "share": "projects",
                    "since": "2023-11-14T22:03:20+00:00",
                    "observed": "nothing is mounted there",
                }
            ],
        },
        "two": {"checked": "2023-11-14T22:13:00+00:00", "phase": "deploying", "bad": []},
        "three": {"checked": None, "phase": "", "bad": []},
    }
    lines = done.stderr.splitlines()
    assert "three did not check itself" in lines
    assert "  storage.mounted projects, since 2023-11-14T22:03:20+00:00: nothing is mounted there" in lines
