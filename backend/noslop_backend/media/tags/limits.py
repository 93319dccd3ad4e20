# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file may claim about itself before it is not believed."""

from __future__ import annotations

#: No single text, and not all of a file's together, is kept above this.
LIMIT_BYTES = 8 * 1024 * 1024
#: So many chunks, boxes, elements and comments of one file are looked at, on all levels together.
ITEMS_LIMIT = 50_000


class Items:
    """Counts what is looked at in one file. Where a file has more, what was found by then is the answer."""

    def __init__(self) -> None:
        self._left = ITEMS_LIMIT

    def count_one(self) -> bool:
        """Count one more item; False when there were enough."""
        self._left -= 1
        return self._left >= 0
