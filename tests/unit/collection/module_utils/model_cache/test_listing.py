# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a share is read again where it changed, and only there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.model_cache.listing import ListingReader


def test_hidden_names_and_partial_downloads_are_left_out_and_links_are_files(tmp_path: Path) -> None:
    for path in ("loras/sdxl/a", ".noslop-share", ".noslop-trash/x", "blobs/sha256-ab-partial", "blobs/sha256-ab"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("content")
    (tmp_path / "linked").symlink_to("loras")
    listing = ListingReader(str(tmp_path)).read()
    assert sorted(listing.directories) == ["blobs", "loras", "loras/sdxl"]
    assert {path: file.is_regular for path, file in listing.files.items()} == {
        "loras/sdxl/a": True,
        "blobs/sha256-ab": True,
        "linked": False,
    }


def test_directory_is_read_twice_and_then_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras/a").write_text("content")
    read: list[str] = []
    scandir = os.scandir

    def count(path: str) -> object:
        read.append(os.path.relpath(path, tmp_path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", count)
    reader = ListingReader(str(tmp_path))
    for __ in range(4):
        assert list(reader.read().files) == ["loras/a"]
    assert sorted(read) == [".", ".", "loras", "loras"]
    (tmp_path / "loras/b").write_text("content")
    assert sorted(reader.read().files) == ["loras/a", "loras/b"]
    (tmp_path / "loras/a").unlink()
    assert list(reader.read().files) == ["loras/b"]


def test_file_with_a_copy_is_always_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    reader = ListingReader(str(tmp_path))
    for __ in range(3):
        before = reader.read(["a"]).files["a"]
    with (tmp_path / "a").open("a") as stream:
        stream.write("more")
    after = reader.read(["a"]).files["a"]
    assert (before.size, after.size) == (7, 11)
    (tmp_path / "a").unlink()
    assert "a" not in reader.read(["a"]).files
