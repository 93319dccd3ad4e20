# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file may claim about itself before it is not believed."""

from __future__ import annotations

#: No single text, and not all of a file's together, is kept above this.
LIMIT_BYTES = 8 * 1024 * 1024
#: So many chunks, boxes or elements are looked at.
ITEMS_LIMIT = 100_000
