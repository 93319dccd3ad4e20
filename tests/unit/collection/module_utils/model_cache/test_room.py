# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which copies go for another one."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import room
from ansible_collections.noslop.studio.plugins.module_utils.model_cache.room import Copy


@pytest.mark.parametrize(
    ("needed", "removed"),
    [(0, ""), (4, ""), (5, "b"), (7, "b"), (8, "ba"), (10, "bac"), (11, None)],
)
def test_copies_that_were_not_used_for_longest_go_first(needed: int, removed: str | None) -> None:
    copies = [Copy("s", "a", 1, used_ns=5), Copy("s", "b", 3, used_ns=2), Copy("t", "c", 2, used_ns=9)]
    chosen = room.choose_removals(copies, 10, needed)
    assert (chosen if chosen is None else "".join(copy.digest for copy in chosen)) == removed


@pytest.mark.parametrize(
    ("limit", "copied", "free", "expected"),
    [(100, 0, 1000, 100), (100, 40, 60, 50), (100, 40, 40, 40), (100, 40, 0, 40)],
)
def test_a_part_of_the_disk_stays_free(limit: int, copied: int, free: int, expected: int) -> None:
    assert room.limit_by_disk(limit, copied, free, 1000) == expected
