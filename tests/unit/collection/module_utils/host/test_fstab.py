# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how fstab is read."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.host import fstab
from ansible_collections.noslop.studio.plugins.module_utils.host.fstab import Entry

TEXT = (
    "# <file system> <mount point>\n"
    "UUID=1 / ext4 errors=remount-ro 0 1\n"
    "UUID=2 none swap sw 0 0\n"
    "UUID=3 /data ext4 defaults,nofail 0 2\n"
    "UUID=4 /mnt/usb\\040stick vfat noauto 0 0\n"
    "/srv/an\\040image.img /mnt/x/ ext4 loop\n"
    "broken\n"
)


def test_entries_are_those_with_a_mount_point_beside_the_root() -> None:
    assert fstab.parse(TEXT) == [
        Entry("UUID=3", "/data"),
        Entry("UUID=4", "/mnt/usb stick", noauto=True),
        Entry("/srv/an image.img", "/mnt/x"),
    ]


def test_host_without_the_file_has_no_entries(tmp_path: Path) -> None:
    assert fstab.read(str(tmp_path / "fstab")) == []
    (tmp_path / "fstab").write_text(TEXT)
    assert len(fstab.read(str(tmp_path / "fstab"))) == 3
