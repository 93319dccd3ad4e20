# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what may be the path of a model below its share. Pure."""

from __future__ import annotations

import re

_PART = re.compile(r"[^\x00-\x1f\x7f/\\\ud800-\udfff]+")
#: The largest file name of Linux's file systems.
_NAME_BYTES = 255


def is_model_path(path: str) -> bool:
    """Return whether a path has plain names only: no hidden ones, none of a parent, none too long, all of them text."""
    return all(
        _PART.fullmatch(part) and not part.startswith(".") and len(part.encode()) <= _NAME_BYTES
        for part in path.split("/")
    )
