# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which changes of files and trees a comparison notices."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.deployed import files

KEY = b"k" * 32


def make_tree(top: Path) -> Path:
    (top / "bin").mkdir(parents=True)
    (top / "bin/program").write_text("one")
    (top / "current").symlink_to("bin")
    return top


def replace_link(link: Path, target: str) -> None:
    """Point a link elsewhere, or without a target put a directory in its place."""
    link.unlink()
    if target:
        link.symlink_to(target)
    else:
        link.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda top: (top / "bin/program").write_text("other"),
    "time": lambda top: os.utime(top / "bin/program", ns=(0, 0)),
    "mode of a file": lambda top: (top / "bin/program").chmod(0o777),
    "mode of a directory": lambda top: (top / "bin").chmod(0o700),
    "mode of the top": lambda top: top.chmod(0o700),
    "removed": lambda top: (top / "bin/program").unlink(),
    "added": lambda top: (top / "bin/more").touch(),
    "renamed": lambda top: (top / "bin/program").rename(top / "bin/other"),
    "link": lambda top: replace_link(top / "current", "/nowhere"),
    "kind": lambda top: replace_link(top / "current", ""),
    "owner": lambda top: os.chown(top / "bin/program", 65534, 65534),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_a_tree_is_noticed(tmp_path: Path, change: str) -> None:
    if change == "owner" and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    top = make_tree(tmp_path / "tree")
    before = files.read_tree(str(top), KEY)
    CHANGES[change](top)
    assert files.read_tree(str(top), KEY) != before


def test_caches_of_python_are_no_change_of_a_tree(tmp_path: Path) -> None:
    top = make_tree(tmp_path / "tree")
    before = files.read_tree(str(top), KEY)
    (top / "bin/__pycache__").mkdir()
    (top / "bin/__pycache__/a.pyc").touch()
    assert files.read_tree(str(top), KEY) == before
    assert before["entries"] == "3"


def test_content_of_a_file_counts_by_a_checksum_with_a_key(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("secret")
    before = files.read_entry(str(file), KEY)
    os.utime(file, ns=(0, 0))
    assert files.read_entry(str(file), KEY) == before
    assert files.read_entry(str(file), b"other")["content"] != before["content"]
    assert before["content"] == files.digest(b"secret", KEY)
    file.write_text("public")
    assert files.read_entry(str(file), KEY)["content"] != before["content"]


def test_everything_below_a_directory_is_listed_by_its_path(tmp_path: Path) -> None:
    top = make_tree(tmp_path / "tree")
    below = files.read_below(str(top), KEY)
    assert list(below) == [str(top), f"{top}/bin", f"{top}/bin/program", f"{top}/current"]
    assert below[f"{top}/current"] == {**below[f"{top}/current"], "kind": "link", "target": "bin"}
    assert list(files.read_below(str(top), KEY, depth=1)) == [str(top), f"{top}/bin", f"{top}/current"]
    assert files.read_below(str(tmp_path / "missing"), KEY) == {}


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert files.read_entry(str(tmp_path / "pipe"), KEY)["kind"] == "special file"
    assert files.read_tree(str(tmp_path / "pipe"), KEY)["kind"] == "special file"
