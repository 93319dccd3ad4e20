# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the list of a tree: what changes it, and which files are read again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.storage_move import tree_listing
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.tree_listing import Listing


class Tree:
    """A directory, and the files of its list."""

    def __init__(self, directory: Path) -> None:
        self.top, self._directory = directory / "tree", directory
        self.top.mkdir()

    def list(self) -> Listing:
        return tree_listing.write_listing(str(self.top), str(self._directory / "list"), str(self._directory / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    one = Tree(tmp_path)
    (one.top / "file").write_text("one")
    os.link(one.top / "file", one.top / "other")
    (one.top / "link").symlink_to("/etc/passwd")
    return one


@pytest.mark.parametrize("number", range(5))
def test_each_change_of_content_or_metadata_changes_the_list(tree: Tree, number: int) -> None:
    before = tree.list()
    changes = (
        lambda: (tree.top / "file").write_text("two"),
        lambda: (tree.top / "file").chmod(0o600),
        lambda: os.utime(tree.top / "file", ns=(1, 2)),
        (tree.top / "other").unlink,
        lambda: os.setxattr(tree.top / "file", "user.a", b"b"),
    )
    changes[number]()
    after = tree.list()
    assert after.digest != before.digest
    assert after.fingerprint != before.fingerprint
    assert tree_listing.read_fingerprint(str(tree.top)) == after.fingerprint


def test_rename_of_the_top_changes_no_fingerprint(tree: Tree) -> None:
    before = tree.list().fingerprint
    tree.top.rename(tree.top.with_name("aside"))
    assert tree_listing.read_fingerprint(str(tree.top.with_name("aside"))) == before


def test_only_a_file_that_changed_is_read_again(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_listing, "FRESH_NS", -1_000_000_000_000)  # the files are old enough
    first = tree.list()
    assert tree.list() == first
    state, _sha256 = json.loads((tmp_path / "cache").read_text())
    (tmp_path / "cache").write_text(json.dumps([state, "of before"]) + "\n")
    tree.list()
    assert "of before" in (tmp_path / "list").read_text()
    (tree.top / "file").write_text("two")
    tree.list()
    assert hashlib.sha256(b"two").hexdigest() in (tmp_path / "list").read_text()


def test_file_that_changed_just_now_is_read_again(tree: Tree, tmp_path: Path) -> None:
    tree.list()
    assert (tmp_path / "cache").read_text() == "", "it may change again within the same tick of the clock"


def test_link_is_not_followed(tree: Tree, tmp_path: Path) -> None:
    tree.list()
    text = (tmp_path / "list").read_text()
    assert "/etc/passwd" in text
    assert text.count("sha256") == 1, "a hard link is listed by its first name"
    usage = tree_listing.read_usage(str(tree.top))
    assert usage.inodes == 2
