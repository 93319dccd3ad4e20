# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure on one host the room of a file system, and its speed with small files and with one large file."""

from __future__ import annotations

import os
import secrets
import time
from typing import TypedDict

from ansible_collections.noslop.studio.plugins.module_utils.probe import directory as files

SMALL_FILES = 200
SMALL_BYTES = 4096
LARGE_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
#: A file system with less room than this is not filled any further.
_ROOM_FACTOR = 100
#: A slow file system ends a measurement after this time; what was done until then counts.
LIMIT_S = 20.0


class Speed(TypedDict):
    """Room and speed. A rate is 0 where it was not measured."""

    free_bytes: int
    inodes: int
    free_inodes: int
    small_files_s: float
    """Files of 4 KiB that were made and closed in a second."""
    write_bytes_s: float
    read_bytes_s: float
    """Of a large file, without the memory of this host."""


def measure_speed(directory: int, *, small_files: int = SMALL_FILES, large_bytes: int = LARGE_BYTES) -> Speed:
    """Measure in an open directory, which then has the files."""
    space = os.fstatvfs(directory)
    free_bytes = space.f_bavail * space.f_frsize
    has_room = free_bytes > _ROOM_FACTOR * large_bytes
    written = _write_large(directory, large_bytes) if has_room else (0, 0.0)
    return Speed(
        free_bytes=free_bytes,
        inodes=space.f_files,
        free_inodes=space.f_favail,
        small_files_s=_write_small(directory, small_files),
        write_bytes_s=_divide(*written),
        read_bytes_s=_divide(*_read_large(directory)) if written[0] else 0.0,
    )


def _write_small(directory: int, count: int) -> float:
    content = secrets.token_bytes(SMALL_BYTES)
    started, done = time.monotonic(), 0
    while done < count and time.monotonic() - started < LIMIT_S:
        files.create(directory, f"small.{done}", content)
        done += 1
    return _divide(done, time.monotonic() - started)


def _write_large(directory: int, size_bytes: int) -> tuple[int, float]:
    block = secrets.token_bytes(_BLOCK_BYTES)
    started, written = time.monotonic(), 0
    descriptor = files.open_file(directory, "large", new=True)
    try:
        while written < size_bytes and time.monotonic() - started < LIMIT_S:
            files.write_whole(descriptor, block)
            written += len(block)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return written, time.monotonic() - started


def _read_large(directory: int) -> tuple[int, float]:
    descriptor = files.open_file(directory, "large")
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        started, count = time.monotonic(), 0
        while time.monotonic() - started < LIMIT_S and (block := os.read(descriptor, _BLOCK_BYTES)):
            count += len(block)
    finally:
        os.close(descriptor)
    return count, time.monotonic() - started


def _divide(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
