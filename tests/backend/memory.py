# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories in memory, for tests that need not wait for what fsync does to a disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where they are made; None where the host has no such place, and they are made where others are.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def in_memory() -> Iterator[Path]:
    """Make a directory, and remove it after the block."""
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir=MEMORY) as directory:
        yield Path(directory)
