# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a file gets its name in one step and never over another one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.share import no_replace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_rename_gives_the_new_name(place: int, tmp_path: Path) -> None:
    (tmp_path / "part").write_text("whole")

    no_replace.rename_new("part", "film", place, place)

    assert os.listdir(tmp_path) == ["film"]
    assert (tmp_path / "film").read_text() == "whole"


def test_rename_replaces_nothing(place: int, tmp_path: Path) -> None:
    (tmp_path / "part").write_text("new")
    (tmp_path / "film").write_text("old")

    with pytest.raises(FileExistsError):
        no_replace.rename_new("part", "film", place, place)
    assert (tmp_path / "film").read_text() == "old"
    assert (tmp_path / "part").read_text() == "new"


def test_link_keeps_both_names_and_replaces_nothing(place: int, tmp_path: Path) -> None:
    (tmp_path / "part").write_text("whole")

    assert no_replace.link_or_rename("part", "film", place, place)
    assert sorted(os.listdir(tmp_path)) == ["film", "part"]
    with pytest.raises(FileExistsError):
        no_replace.link_or_rename("part", "film", place, place)


@pytest.mark.parametrize("number", sorted(no_replace.NO_LINKS))
def test_file_is_renamed_where_there_are_no_hard_links(
    number: int, place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*__: object, **___: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "part").write_text("whole")

    assert not no_replace.link_or_rename("part", "film", place, place)
    assert os.listdir(tmp_path) == ["film"]


def test_other_errors_of_a_link_are_raised(place: int) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        no_replace.link_or_rename("missing", "film", place, place)
    assert caught.value.errno == errno.ENOENT
