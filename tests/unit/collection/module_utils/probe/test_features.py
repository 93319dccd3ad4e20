# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a probe measures on one host, on file systems that can do it and on one that cannot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.probe import directory, features, requirements

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")


@pytest.fixture
def ext3(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system whose inodes have no room for parts of a second."""
    image, point = tmp_path / "image", tmp_path / "ext3"
    with image.open("wb") as stream:
        stream.truncate(16 * 1024 * 1024)
    point.mkdir()
    subprocess.run(["mkfs.ext3", "-q", "-I", "128", image], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    yield point
    subprocess.run(["umount", point], check=True)


def measure(path: Path) -> features.Features:
    place = path / "place"
    place.mkdir()
    with directory.open_path(str(place)) as descriptor:
        return features.test_features(descriptor)


def test_ordinary_disk_has_everything(tmp_path: Path) -> None:
    tested = measure(tmp_path)

    missing = {one.feature: tested[one.feature] for one in requirements.REQUIREMENTS if tested[one.feature]}  # type: ignore[literal-required]  # each is a key
    assert missing == {}
    assert tested["no_replace"] == ""
    assert tested["times_off_ns"] == 0
    assert tested["owner"] == [os.geteuid(), os.getegid()]


@root_only
def test_times_in_whole_seconds_are_measured(ext3: Path) -> None:
    assert measure(ext3)["times_off_ns"] == 123_456_789


def test_read_only_directory_is_an_error(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        os.rmdir(tmp_path)
        with pytest.raises(OSError, match="No such file"):
            features.test_features(descriptor)
    finally:
        os.close(descriptor)
