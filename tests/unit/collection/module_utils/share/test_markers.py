# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the marker: made once, never overwritten, and accepted only when it is the right one."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.share import markers
from hypothesis import given
from hypothesis import strategies as st


def publish(path: Path, text: str) -> str:
    directory = os.open(path.parent, os.O_PATH)
    try:
        return markers.publish(directory, path.name, text, os.getuid(), os.getgid(), 0o444)
    finally:
        os.close(directory)


def test_published_marker_is_the_composed_one(tmp_path: Path) -> None:
    text = publish(tmp_path / "m", markers.compose("atelier", "projects"))

    assert markers.find_problem(text, "atelier", "projects") == ""
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o444
    assert os.listdir(tmp_path) == ["m"]


def test_existing_marker_stays(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("first")

    assert publish(tmp_path / "m", "second") == "first"
    assert os.listdir(tmp_path) == ["m"]


def test_concurrent_writers_all_read_the_first_marker(tmp_path: Path) -> None:
    read_texts: list[str] = []
    start = threading.Barrier(8)

    def work() -> None:
        text = markers.compose("atelier", "projects")
        start.wait()
        read_texts.append(publish(tmp_path / "m", text))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(read_texts) == 8
    assert set(read_texts) == {(tmp_path / "m").read_text()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"studio_id": "other", "share": "projects"}), "belongs to the studio 'other'"),
        (json.dumps({"studio_id": "atelier", "share": "models"}), "is the share 'models'"),
        ("", "not readable as one"),
        ("[]", "not readable as one"),
        ('{"studio_id": "atelier"}', "not readable as one"),
        ("\0\0\0", "not readable as one"),
    ],
)
def test_wrong_marker_is_refused(text: str, message: str) -> None:
    assert message in markers.find_problem(text, "atelier", "projects")


@given(st.text(), st.text())
def test_only_the_same_studio_and_share_match(studio: str, share: str) -> None:
    right = markers.find_problem(markers.compose(studio, share), "atelier", "projects") == ""

    assert right == ((studio, share) == ("atelier", "projects"))


def test_marker_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "m").symlink_to("/etc/hostname")

    with pytest.raises(OSError, match="symbolic"):
        markers.read(str(tmp_path / "m"))


def test_link_in_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    (problem,) = markers.find_directory_problems(str(tmp_path / "link" / "models"))

    assert str(tmp_path / "link") in problem
    assert str(tmp_path / "real") in problem


def test_file_in_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")

    (problem,) = markers.find_directory_problems(str(tmp_path / "models" / "a"))

    assert "is not a directory" in problem


def test_missing_path_can_become_a_directory(tmp_path: Path) -> None:
    assert markers.find_directory_problems(str(tmp_path / "a" / "b")) == []


def test_root_with_other_files_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "projects").mkdir()
    assert markers.find_foreign_entries(str(tmp_path), [f"{tmp_path}/projects"], 2600) == []

    (tmp_path / "photos of anna").mkdir()
    (problem,) = markers.find_foreign_entries(str(tmp_path), [f"{tmp_path}/projects"], 2600)

    assert "photos of anna" in problem


def test_closed_root_may_contain_other_files(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    tmp_path.chmod(0o750)

    assert markers.find_foreign_entries(str(tmp_path), [], os.getgid()) == []
