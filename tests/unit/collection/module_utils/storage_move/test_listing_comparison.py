# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that two lists differ exactly where the trees do, whatever the names are."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.storage_move import listing_comparison, tree_listing
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.lists(st.sampled_from(["a", "a.b", "a b", "B", "\udcff", "\n", "z"]), min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(NAMES, st.sampled_from(["one", "two"]), max_size=8)


def list_tree(tree: dict[str, str]) -> list[bytes]:
    """Return the lines of a list, in the order in which a walk meets the names."""
    ordered = sorted(tree, key=lambda name: [os.fsencode(part) for part in name.split("/")])
    return [json.dumps({"path": name, "sha256": tree[name]}).encode() for name in ordered]


@given(TREES, TREES)
def test_each_difference_is_named_once(old: dict[str, str], new: dict[str, str]) -> None:
    differences = listing_comparison.find_differences(list_tree(old), list_tree(new), most=100)
    expected = {f"{name!a} was not copied." for name in old.keys() - new.keys()}
    expected |= {f"{name!a} is on the new server only." for name in new.keys() - old.keys()}
    expected |= {f"{name!a} differs in content." for name in old.keys() & new.keys() if old[name] != new[name]}
    assert sorted(differences) == sorted(expected)


def test_many_differences_are_cut() -> None:
    old = {f"{number:03}": "one" for number in range(50)}
    differences = listing_comparison.find_differences(list_tree(old), [], most=3)
    assert differences == [
        "'000' was not copied.",
        "'001' was not copied.",
        "'002' was not copied.",
        "And there are more.",
    ]


def test_walk_lists_in_the_order_that_the_comparison_expects(tmp_path: Path) -> None:
    for name in ("a/x", "a.b", "a b/y", "B", "a/x.y/z"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).touch()
    tree_listing.write_listing(str(tmp_path / "tree"), str(tmp_path / "list"), str(tmp_path / "cache"))
    lines = (tmp_path / "list").read_bytes().splitlines()
    keys = [[os.fsencode(part) for part in json.loads(line)["path"].split("/")] for line in lines[1:]]
    assert keys == sorted(keys)
    assert len(keys) == 8
