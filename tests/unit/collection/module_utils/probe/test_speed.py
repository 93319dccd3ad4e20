# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the measurement of room and speed."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.probe import directory, speed


def test_rates_and_room_are_measured(tmp_path: Path) -> None:
    with directory.open_path(str(tmp_path)) as place:
        measured = speed.measure_speed(place, small_files=5, large_bytes=1024 * 1024)

    assert measured["small_files_s"] > 0
    assert measured["write_bytes_s"] > 0
    assert measured["read_bytes_s"] > 0
    assert measured["free_bytes"] > 0
    assert sorted(os.listdir(tmp_path)) == ["large", *(f"small.{number}" for number in range(5))]
    assert (tmp_path / "large").stat().st_size == 1024 * 1024


def test_full_disk_gets_no_large_file(tmp_path: Path) -> None:
    space = os.statvfs(tmp_path)
    with directory.open_path(str(tmp_path)) as place:
        measured = speed.measure_speed(place, small_files=1, large_bytes=space.f_blocks * space.f_frsize)

    assert (measured["write_bytes_s"], measured["read_bytes_s"]) == (0, 0)
    assert os.listdir(tmp_path) == ["small.0"]
