# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that files that programs open are noticed."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.model_cache.open_events import OpenEvents


def test_opened_files_are_noticed_once_and_listed_directories_are_not(tmp_path: Path) -> None:
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "file").write_text("content")
    events = OpenEvents()
    events.watch({"1": str(tmp_path / "one"), "2": str(tmp_path / "two"), "3": str(tmp_path / "missing")})
    for __ in range(3):
        (tmp_path / "one/file").read_text()
    os.listdir(tmp_path / "one")
    (tmp_path / "two/file").stat()
    assert events.read() == [("1", "file")]
    assert events.read() == []


def test_directory_that_is_made_again_is_watched_anew_and_another_one_no_more(tmp_path: Path) -> None:
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "file").write_text("content")
    events = OpenEvents()
    events.watch({"1": str(tmp_path / "one"), "2": str(tmp_path / "two")})
    (tmp_path / "one").rename(tmp_path / "moved")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/new").write_text("content")
    events.watch({"1": str(tmp_path / "one")})
    events.read()
    (tmp_path / "one/new").read_text()
    (tmp_path / "two/file").read_text()
    assert events.read() == [("1", "new")]
    (tmp_path / "one/new").unlink()
    (tmp_path / "one").rmdir()
    events.read()
    (tmp_path / "one").mkdir()
    events.watch({"1": str(tmp_path / "one")})
    (tmp_path / "one/file").write_text("content")
    assert ("1", "file") in events.read()
