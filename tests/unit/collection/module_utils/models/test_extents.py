# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what files have in common on a disk: by lists of extents, and on a real Btrfs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import extents
from ansible_collections.noslop.studio.plugins.module_utils.models.extents import Extent

from tests.support.btrfs_disk import mounting_btrfs

MB = 1024 * 1024
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")


@pytest.mark.parametrize(
    ("source", "target", "shared"),
    [
        ([Extent(0, 5 * MB, 2 * MB)], [Extent(0, 5 * MB, 2 * MB)], True),
        ([Extent(0, 5 * MB, 2 * MB)], [Extent(0, 5 * MB, MB), Extent(MB, 6 * MB, MB)], True),
        ([Extent(0, 5 * MB, 2 * MB)], [Extent(0, 5 * MB, MB), Extent(MB, 9 * MB, MB)], False),
        ([Extent(0, 5 * MB, 2 * MB)], [Extent(0, 5 * MB, 2 * MB), Extent(2 * MB, 90 * MB, 4096)], True),
        ([Extent(0, 5 * MB, 2 * MB)], [Extent(MB, 5 * MB, MB)], False),
        ([], [], False),
        ([Extent(0, 5 * MB, MB)], [], False),
    ],
)
def test_files_are_shared_where_all_but_a_last_block_lies_in_one_place(
    source: list[Extent], target: list[Extent], shared: bool
) -> None:
    assert extents.are_shared(source, target) is shared


def test_shared_bytes_count_once() -> None:
    files = [[Extent(0, 0, 4)], [Extent(0, 2, 4)], [Extent(0, 3, 1), Extent(9, 10, 5)]]
    assert extents.count_bytes(files) == 6 + 5


@root_only
def test_btrfs_shares_equal_files_and_refuses_others(tmp_path: Path) -> None:
    content = os.urandom(40 * MB + 5)
    with mounting_btrfs(tmp_path) as top:
        for name, data in (("one", content), ("two", content), ("other", content[:-1] + b"\0")):
            (top / name).write_bytes(data)
        with (top / "one").open("rb") as one, (top / "two").open("rb") as two, (top / "other").open("rb") as other:
            descriptors = [stream.fileno() for stream in (one, two, other)]
            before = [extents.read_extents(descriptor) for descriptor in descriptors]
            assert not extents.are_shared(before[0], before[1])
            assert extents.can_share(descriptors[0], descriptors[1])
            changed = os.fstat(descriptors[1]).st_ctime_ns
            assert extents.read_extents(descriptors[1]) == before[1]
            extents.share(descriptors[0], descriptors[1], len(content))
            assert extents.are_shared(before[0], extents.read_extents(descriptors[1]))
            assert os.fstat(descriptors[1]).st_ctime_ns == changed
            with pytest.raises(extents.Different):
                extents.share(descriptors[0], descriptors[2], len(content))
            with (tmp_path / "elsewhere").open("w+b") as elsewhere:
                elsewhere.write(content)
                elsewhere.flush()
                assert not extents.can_share(descriptors[0], elsewhere.fileno())
        assert (top / "two").read_bytes() == content
        assert (top / "other").read_bytes() == content[:-1] + b"\0"
