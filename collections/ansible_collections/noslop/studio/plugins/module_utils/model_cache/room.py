# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the copies that go when another one needs their room. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Of the disk of a cache so much stays free: others use it too.
FREE_PERCENT = 5


@dataclass(frozen=True)
class Copy:
    """A copy: the name of its share, its SHA-256, its size in bytes, and when a program opened it last."""

    share: str
    digest: str
    size: int
    used_ns: int


def limit_by_disk(limit_bytes: int, copied_bytes: int, free_bytes: int, disk_bytes: int) -> int:
    """Return how many bytes all copies together may have.

    Args:
        limit_bytes: the size that a person chose.
        copied_bytes: what the copies have now.
        free_bytes: what is free on their disk.
        disk_bytes: the size of that.
    """
    return min(limit_bytes, copied_bytes + max(0, free_bytes - disk_bytes * FREE_PERCENT // 100))


def choose_removals(copies: Iterable[Copy], limit_bytes: int, needed_bytes: int) -> Sequence[Copy] | None:
    """Return the copies to remove for a new one, those first that were not used for longest.

    ``None`` where the new one is larger than all the room there is.
    """
    if needed_bytes > limit_bytes:
        return None
    oldest_first = sorted(copies, key=lambda copy: copy.used_ns)
    excess = sum(copy.size for copy in oldest_first) + needed_bytes - limit_bytes
    removed = []
    for copy in oldest_first:
        if excess <= 0:
            break
        removed.append(copy)
        excess -= copy.size
    return removed
