# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the evidence of mounts, disks, exports and directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.evidence import storage
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, run_one

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other accounts")
OWNER = Account(2600, 2600, (2600,))


def test_share_that_is_no_mount_has_the_mount_that_it_lies_on(tmp_path: Path) -> None:
    mounts = storage.read_mounts([{"name": "projects", "path": str(tmp_path)}])
    assert mounts["projects"]["point"] != str(tmp_path)
    assert str(tmp_path).startswith(mounts["projects"]["point"])


def test_disk_has_its_room_and_its_inodes(tmp_path: Path) -> None:
    disk = storage.read_disk(str(tmp_path))
    assert disk["bytes"] >= disk["free_bytes"] > 0
    assert (disk["path"], disk["read_only"]) == (str(tmp_path), False)


def test_exports_of_the_file_are_those_that_were_written(tmp_path: Path) -> None:
    file = tmp_path / "noslop.exports"
    file.write_text('/mnt/noslop/projects 10.0.0.2(rw)\n"/mnt/a b" 10.0.0.2(rw)\n', encoding="utf-8")
    assert storage.read_exports(str(file))["written"] == ["/mnt/a b", "/mnt/noslop/projects"]
    assert storage.read_exports(str(tmp_path / "none"))["written"] == []


@root_only
def test_directories_that_the_owner_cannot_change_are_listed_and_links_are_not_followed(tmp_path: Path) -> None:
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)
    share = tmp_path / "share"
    for name in ("own/below", "lost+found", "shared"):
        (share / name).mkdir(parents=True)
    for path in (share, share / "own", share / "own/below"):
        os.chown(path, OWNER.uid, OWNER.gid)
    (share / "shared").chmod(0o777)
    find = storage.find_foreign_directories(str(share), OWNER.uid)
    assert run_one(find, OWNER, 20).value["count"] == 0

    os.chown(share / "own", 0, 0)
    (share / "link").symlink_to("/root")
    tree = run_one(find, OWNER, 20).value
    assert tree == {"path": str(share), "count": 1, "examples": [{"path": str(share / "own"), "uid": 0, "gid": 0}]}
