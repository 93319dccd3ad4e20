# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the numbers of versions, such as ``v0.33.0``, ``580.95.05`` and ``3.11``."""

from __future__ import annotations

import re


def parse_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; none for a commit, a name or an empty text.

    A leading ``v`` and what follows ``-`` or ``+`` (``v0.33.0-rc1``) do not count.
    """
    match = re.fullmatch(r"v?(\d+(?:\.\d+)*)(?:[-+].*)?", version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def is_older(version: str, other: str) -> bool:
    """Return whether a version has smaller numbers than another. One without numbers is never older."""
    return bool(parse_numbers(version)) and parse_numbers(version) < parse_numbers(other)
