# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the directory of a probe: made for one probe, removed with all that is in it, and no link is followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.probe import directory

NAME = directory.make_name("atelier")


def test_directory_is_made_once(tmp_path: Path) -> None:
    directory.make(str(tmp_path), NAME)

    with pytest.raises(FileExistsError):
        directory.make(str(tmp_path), NAME)


def test_leftovers_of_this_studio_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (NAME, directory.make_name("atelier", "word"), directory.make_name("atelier2"), "mine"):
        (tmp_path / name / "own.0").mkdir(parents=True)
        (tmp_path / name / "own.0" / "file").write_text("content")

    os.utime(tmp_path / directory.make_name("atelier", "word"), (0, 0))

    removed = directory.remove_all(str(tmp_path), "atelier")

    assert removed == [NAME, directory.make_name("atelier", "word")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [directory.make_name("atelier2"), "mine"]


def test_directory_of_a_running_verification_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / directory.make_name("atelier", "word")).mkdir()

    assert directory.remove_all(str(tmp_path), "atelier") == []


def test_links_in_a_leftover_are_removed_and_their_targets_stay(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "film").write_text("kept")
    share = tmp_path / "share"
    (share / NAME).mkdir(parents=True)
    (share / NAME / "directory").symlink_to(outside)
    (share / NAME / "file").symlink_to(outside / "film")

    directory.remove(str(share), NAME)

    assert not (share / NAME).exists()
    assert (outside / "film").read_text() == "kept"


def test_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "film").write_text("kept")
    (tmp_path / NAME).symlink_to(outside)

    with pytest.raises(directory.ProbeError, match="is no directory"):
        directory.remove_all(str(tmp_path), "atelier")
    assert (outside / "film").read_text() == "kept"


def test_directory_with_more_than_a_probe_makes_is_left_alone(tmp_path: Path) -> None:
    deep = tmp_path / NAME / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (deep / "film").write_text("kept")

    with pytest.raises(directory.ProbeError, match="more than a probe makes"):
        directory.remove_all(str(tmp_path), "atelier")
    assert (deep / "film").read_text() == "kept"


def test_removing_what_is_gone_does_nothing(tmp_path: Path) -> None:
    directory.remove(str(tmp_path), NAME)

    assert directory.remove_all(str(tmp_path), "atelier") == []


def test_share_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "share").symlink_to(tmp_path)

    with pytest.raises(NotADirectoryError):
        directory.make(str(tmp_path / "share"), NAME)


def test_file_is_created_once_and_read_to_its_limit(tmp_path: Path) -> None:
    with directory.open_path(str(tmp_path)) as place:
        directory.create(place, "file", b"content")

        assert directory.read(place, "file", 4) == b"cont"
        with pytest.raises(FileExistsError):
            directory.create(place, "file")


def test_link_in_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    os.symlink("secret", tmp_path / "link")

    with directory.open_path(str(tmp_path)) as place, pytest.raises(OSError, match="symbolic links"):
        directory.read(place, "link", 10)
