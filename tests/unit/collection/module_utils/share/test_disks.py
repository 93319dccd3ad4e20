# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which disks shares lie on, and which are missing, with real file systems where root can mount them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host.fstab import Entry
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount, read_mounts
from ansible_collections.noslop.studio.plugins.module_utils.share.disks import (
    MissingDisk,
    find_disk,
    find_missing_disks,
)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
SHARES = [{"name": "projects", "path": "/srv/a/projects"}, {"name": "cache", "path": "/srv/b"}]
SYSTEM = Mount("/", "ext4", "/dev/vda", "8:1")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return the mount point of a file system of 8 MB."""
    point, image = tmp_path / "disk", tmp_path / "disk.img"
    point.mkdir()
    image.write_bytes(bytes(8_000_000))
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", point], check=True)


@root_only
def test_disk_of_a_share_is_the_mount_point_at_it_or_above_it_also_before_the_share_is_made(disk: Path) -> None:
    mounts = read_mounts()

    assert find_disk(str(disk), mounts) == str(disk)
    assert find_disk(str(disk / "comfyui/models"), mounts) == str(disk)


@root_only
def test_bind_mount_of_the_same_file_system_is_no_disk(tmp_path: Path, disk: Path) -> None:
    (disk / "real").mkdir()
    (disk / "bound").mkdir()
    subprocess.run(["mount", "--bind", disk / "real", disk / "bound"], check=True)
    try:
        assert find_disk(str(disk / "bound"), read_mounts()) == ""
    finally:
        subprocess.run(["umount", disk / "bound"], check=True)


def test_share_on_the_root_file_system_has_no_disk() -> None:
    assert find_disk("/srv/a/projects", [SYSTEM]) == ""


def test_disk_of_fstab_that_is_not_mounted_is_missing_with_its_source_and_shares() -> None:
    fstab = [Entry("LABEL=a", "/srv/a"), Entry("LABEL=other", "/data"), Entry("LABEL=all", "/srv")]

    assert find_missing_disks(SHARES, fstab, [], [SYSTEM]) == [
        MissingDisk("/srv/a", "LABEL=a", ("projects",)),
        MissingDisk("/srv", "LABEL=all", ("projects", "cache")),
    ]


def test_mounted_disk_and_one_that_is_mounted_on_request_are_not_missing() -> None:
    mounts = [SYSTEM, Mount("/srv/a", "ext4", "/dev/vdb", "8:16")]
    fstab = [Entry("LABEL=a", "/srv/a"), Entry("LABEL=b", "/srv/b", noauto=True)]

    assert find_missing_disks(SHARES, fstab, ["/srv/a"], mounts) == []


def test_disk_that_only_the_exports_name_is_missing_where_it_is_not_mounted() -> None:
    fstab = [Entry("LABEL=b", "/srv/b", noauto=True)]

    assert find_missing_disks(SHARES, fstab, ["/srv/b", "/srv/a", "/video"], [SYSTEM]) == [
        MissingDisk("/srv/b", "LABEL=b", ("cache",)),
        MissingDisk("/srv/a", "", ("projects",)),
    ]
