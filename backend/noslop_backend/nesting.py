# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How deep JSON may be nested. What is deeper cannot be written again without running out of stack."""

from __future__ import annotations

from typing import Any

#: Workflows are four or five deep.
LIMIT = 100


def is_too_deep(value: Any) -> bool:  # noqa: ANN401 - any JSON
    """Tell whether a value is nested deeper than `LIMIT`, without recursion of our own."""
    level: list[Any] = [value]
    for _ in range(LIMIT):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list | tuple):
                below += one
        if not below:
            return False
        level = below
    return True
