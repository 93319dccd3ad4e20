# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a disk which is not mounted is named, with the shares on it and the way to mount it."""

from __future__ import annotations

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.disk_checks import check_disks, judge_disks
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.share.disks import MissingDisk

UNIT = Unit("srv-archive.mount", load="loaded", active="failed", result="exit-code")
DISK = MissingDisk("/srv/archive", "/srv/archive.img", ("archive",))


def judge(disk: MissingDisk, *, exported: bool = True) -> Check:
    checks = Checks("server")
    judge_disks(checks, [disk], {UNIT.name: UNIT}, exported=exported)
    (check,) = checks.list
    return check


def test_missing_disk_is_named_with_its_source_its_unit_and_the_command() -> None:
    check = judge(DISK)

    assert (check["check"], check["share"], check["ok"]) == ("server.disks", "archive", False)
    assert check["seen"] == (
        "the disk of archive (/srv/archive.img in /etc/fstab) is not mounted at /srv/archive: "
        "srv-archive.mount is failed (exit-code)"
    )
    assert "run `systemctl start srv-archive.mount nfs-server.service`" in check["todo"]


def test_disk_of_several_shares_of_a_host_that_exports_none_is_named_once() -> None:
    check = judge(MissingDisk("/srv/archive", "", ("projects", "models")), exported=False)

    assert check["share"] == ""
    assert check["seen"].startswith("the disk of projects, models is not mounted at /srv/archive: ")
    assert "run `systemctl start srv-archive.mount`," in check["todo"]


def test_shares_on_mounted_disks_pass() -> None:
    checks = Checks("server")

    check_disks(checks, [{"name": "projects", "path": "/srv/noslop-test/projects"}])

    assert [(check["check"], check["ok"]) for check in checks.list] == [("server.disks", True)]
