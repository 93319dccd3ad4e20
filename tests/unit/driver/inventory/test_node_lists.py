# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.errors import UsageError
from noslop_driver.inventory.node_lists import KEPT_LISTS, NodeEntry, NodeHistory, add_node, remove_node

OLD: NodeEntry = {
    "name": "painter",
    "repo": "https://git.example.org/painter.git",
    "commit": "1" * 40,
    "hosts": ["one"],
}
NEW: NodeEntry = {**OLD, "commit": "2" * 40}
BRUSHES: NodeEntry = {"name": "brushes", "archive": "https://git.example.org/brushes.zip", "sha256": "3" * 64}


def test_new_source_keeps_the_hosts_of_an_entry() -> None:
    archive: NodeEntry = {**BRUSHES, "name": "painter"}
    assert add_node([OLD], BRUSHES) == [OLD, BRUSHES]
    assert add_node([OLD, BRUSHES], archive) == [{**archive, "hosts": ["one"]}, BRUSHES]
    assert add_node([OLD], {**NEW, "hosts": ["two"]}) == [{**NEW, "hosts": ["two"]}]


def test_removal_of_a_node_that_is_not_in_the_list_names_the_others() -> None:
    assert remove_node([OLD, BRUSHES], "painter") == [BRUSHES]
    with pytest.raises(UsageError, match="In the list: painter, brushes"):
        remove_node([OLD, BRUSHES], "brush")


@pytest.mark.parametrize(
    ("earlier", "now", "name", "expected"),
    [
        ([[], [OLD]], [NEW], None, [OLD]),
        ([[], [OLD]], [OLD], None, []),
        ([[OLD, BRUSHES], [NEW, BRUSHES]], [NEW], "painter", [OLD]),
        ([[OLD, BRUSHES]], [OLD], "brushes", [OLD, BRUSHES]),
        ([[OLD]], [OLD, BRUSHES], "brushes", [OLD]),
    ],
)
def test_rollback_reads_the_newest_list_that_differs(
    tmp_path: Path, earlier: list[list[NodeEntry]], now: list[NodeEntry], name: str | None, expected: list[NodeEntry]
) -> None:
    history = NodeHistory(tmp_path)
    for nodes in earlier:
        history.save(nodes)
    assert history.restore(now, name) == expected


def test_last_lists_are_kept_in_their_order(tmp_path: Path) -> None:
    history = NodeHistory(tmp_path)
    for number in range(KEPT_LISTS + 2):
        history.save([{**OLD, "commit": f"{number:040}"}])
    assert len(list((tmp_path / "nodes").iterdir())) == KEPT_LISTS
    assert history.restore([])[0]["commit"] == f"{KEPT_LISTS + 1:040}"


@pytest.mark.parametrize(("name", "message"), [(None, "no earlier list"), ("painter", "no earlier entry for painter")])
def test_rollback_without_an_earlier_list_is_refused(tmp_path: Path, name: str | None, message: str) -> None:
    history = NodeHistory(tmp_path)
    history.save([OLD])
    with pytest.raises(UsageError, match=message):
        history.restore([OLD], name)
