# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parser of mountinfo with text of a client and of a server, as Linux 6.1 prints it."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo
from hypothesis import given
from hypothesis import strategies as st

NFS_OPTIONS = (
    "rw,vers=4.2,rsize=262144,wsize=262144,namlen=255,acregmin=60,acregmax=600,acdirmin=1,acdirmax=3,hard,proto=tcp,"
    "nconnect=4,timeo=600,retrans=2,sec=sys,clientaddr=10.77.42.12,local_lock=none,addr=10.77.42.11"
)
SOURCE = "10.77.42.11:/mnt/noslop/comfyui/models"
CLIENT = rf"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
29 22 0:24 / /run rw,nosuid,nodev shared:12 - tmpfs tmpfs rw,size=148560k,mode=755
60 22 0:48 / /mnt/noslop/comfyui/models rw,relatime shared:30 - autofs systemd-1 rw,fd=49,pgrp=1,timeout=0,direct
61 22 0:50 / /mnt/noslop/projects rw,relatime shared:31 - autofs systemd-1 rw,fd=51,pgrp=1,timeout=0,direct
70 60 0:52 / /mnt/noslop/comfyui/models rw,nosuid,nodev,relatime shared:40 - nfs4 {SOURCE} {NFS_OPTIONS}
71 22 8:1 / /media/with\040space rw - ext4 /dev/sda1 rw
"""


@pytest.fixture
def table() -> list[mountinfo.Mount]:
    return mountinfo.parse_mountinfo(CLIENT)


def test_last_mount_on_a_path_counts(table: list[mountinfo.Mount]) -> None:
    mount = mountinfo.mount_at(table, "/mnt/noslop/comfyui/models")

    assert mount is not None
    assert (mount.fstype, mount.source) == ("nfs4", SOURCE)
    assert mount.device == "0:52"
    assert mount.options["vers"] == "4.2"
    assert mount.options["nosuid"] == ""
    assert mount.is_network


def test_path_lies_on_the_deepest_mount_above_it(table: list[mountinfo.Mount]) -> None:
    def fstype(path: str) -> str:
        mount = mountinfo.mount_containing(table, path)
        return mount.fstype if mount else ""

    assert fstype("/mnt/noslop/comfyui/models/checkpoints") == "nfs4"
    assert fstype("/mnt/noslop/comfyui/models-old") == "ext4"
    assert fstype("/mnt/noslop/media_cache") == "ext4"
    assert fstype("/run/user/0") == "tmpfs"


def test_path_that_is_no_mount_point_has_no_mount(table: list[mountinfo.Mount]) -> None:
    assert mountinfo.mount_at(table, "/mnt/noslop/media_cache") is None


def test_octal_escapes_are_decoded(table: list[mountinfo.Mount]) -> None:
    assert mountinfo.mount_at(table, "/media/with space") is not None


def test_truncated_lines_are_skipped() -> None:
    assert mountinfo.parse_mountinfo("22 1 254:0 / / rw,rel\n\nnothing - at all\n") == []


_NAMES = st.text("abc._- ", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
_PATHS = st.lists(_NAMES, max_size=4).map(lambda names: "/" + "/".join(names))


@given(_PATHS, _PATHS)
def test_is_below_agrees_with_pathlib(path: str, directory: str) -> None:
    assert mountinfo.is_below(path, directory) == PurePosixPath(path).is_relative_to(directory)


@given(_PATHS)
def test_parents_agree_with_pathlib(path: str) -> None:
    assert mountinfo.parents(path) == [str(parent) for parent in PurePosixPath(path).parents]


@given(st.lists(_PATHS, unique=True, max_size=5), _PATHS)
def test_containing_mount_is_the_deepest_above_the_path(points: list[str], path: str) -> None:
    table = [mountinfo.Mount(point, "ext4", "x", "8:1") for point in ["/", *points]]

    holding = mountinfo.mount_containing(table, path)

    assert holding is not None
    assert mountinfo.is_below(path, holding.point)
    assert not any(
        mountinfo.is_below(path, mount.point)
        and mountinfo.is_below(mount.point, holding.point)
        and mount.point != holding.point
        for mount in table
    )
