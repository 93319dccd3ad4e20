# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files that are not in memory, and move them out of it again."""

from __future__ import annotations

import os
from pathlib import Path


def evict(path: Path) -> None:
    """Let the kernel forget a file's pages, which have to be on the disk for that."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_cold(path: Path, content: bytes) -> None:
    """Write a file of which nothing is in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    evict(path)
