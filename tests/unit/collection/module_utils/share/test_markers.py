# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The marker: made once, never overwritten, and only believed when it is the right one."""

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


def test_a_marker_is_what_was_composed(tmp_path: Path) -> None:
    text = publish(tmp_path / "m", markers.compose("atelier", "projects"))

    assert markers.problem(text, "atelier", "projects") == ""
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o444
    assert os.listdir(tmp_path) == ["m"]


def test_a_marker_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("first")

    assert publish(tmp_path / "m", "second") == "first"
    assert os.listdir(tmp_path) == ["m"]


def test_of_many_at_once_one_wins_and_all_learn_which(tmp_path: Path) -> None:
    seen: list[str] = []
    start = threading.Barrier(8)

    def work() -> None:
        text = markers.compose("atelier", "projects")
        start.wait()
        seen.append(publish(tmp_path / "m", text))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 8
    assert set(seen) == {(tmp_path / "m").read_text()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps({"studio_id": "other", "share": "projects"}), "belongs to the studio 'other'"),
        (json.dumps({"studio_id": "atelier", "share": "models"}), "is the share 'models'"),
        ("", "not readable as one"),
        ("[]", "not readable as one"),
        ('{"studio_id": "atelier"}', "not readable as one"),
        ("\0\0\0", "not readable as one"),
    ],
)
def test_another_marker_is_refused(text: str, said: str) -> None:
    assert said in markers.problem(text, "atelier", "projects")


@given(st.text(), st.text())
def test_only_the_same_studio_and_share_are_right(studio: str, share: str) -> None:
    right = markers.problem(markers.compose(studio, share), "atelier", "projects") == ""

    assert right == ((studio, share) == ("atelier", "projects"))


def test_a_marker_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "m").symlink_to("/etc/hostname")

    with pytest.raises(OSError, match="symbolic"):
        markers.read(str(tmp_path / "m"))


def test_a_link_on_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    (problem,) = markers.directory_problems(str(tmp_path / "link" / "models"))

    assert str(tmp_path / "link") in problem
    assert str(tmp_path / "real") in problem


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")

    (problem,) = markers.directory_problems(str(tmp_path / "models" / "a"))

    assert "is not a directory" in problem


def test_what_is_missing_may_become_a_directory(tmp_path: Path) -> None:
    assert markers.directory_problems(str(tmp_path / "a" / "b")) == []


def test_a_root_that_others_use_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "projects").mkdir()
    assert markers.foreign_entry_problems(str(tmp_path), [f"{tmp_path}/projects"], 2600) == []

    (tmp_path / "photos of anna").mkdir()
    (problem,) = markers.foreign_entry_problems(str(tmp_path), [f"{tmp_path}/projects"], 2600)

    assert "photos of anna" in problem


def test_a_root_that_is_closed_already_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    tmp_path.chmod(0o750)

    assert markers.foreign_entry_problems(str(tmp_path), [], os.getgid()) == []


def test_an_fstab_gives_what_should_be_mounted() -> None:
    text = (
        "# <file system> <mount point>\n"
        "UUID=1 / ext4 errors=remount-ro 0 1\n"
        "UUID=2 none swap sw 0 0\n"
        "UUID=3 /data ext4 defaults,nofail 0 2\n"
        "UUID=4 /mnt/usb\\040stick vfat noauto 0 0\n"
        "10.0.0.1:/x /mnt/x/ nfs soft\n"
        "broken\n"
    )

    assert markers.parse_fstab(text) == ["/data", "/mnt/x"]
    assert markers.parse_fstab(text, include_noauto=True) == ["/data", "/mnt/usb stick", "/mnt/x"]
