# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long a program waits for a model: while nothing of it is in this host's memory, and while all is.

A model is read from its begin to its end, as programs load it, with the read-ahead that the mount has. Runs as the
account that owns the share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.models import ollama_store, page_cache
from ansible_collections.noslop.studio.plugins.module_utils.models.warm import Model


@dataclass
class Times:
    """How long the two readings of a model took, in seconds. ``size`` is in bytes.

    ``kept_bytes`` stayed in memory for the first one, because a program has them mapped.
    """

    path: str
    size: int = 0
    cold_s: float = 0.0
    warm_s: float = 0.0
    kept_bytes: int = 0
    message: str = ""


def measure(model: Model, share: str, clock: Callable[[], float] = time.monotonic) -> Times:
    """Read a model twice. What is wrong with it is in the result."""
    times = Times(model.name)
    try:
        for path in model.list_files(share):
            descriptor = page_cache.open_file(path)
            try:
                size = os.fstat(descriptor).st_size
                _evict(descriptor)
                times.size += size
                times.kept_bytes += page_cache.count_resident(descriptor, size)
                times.cold_s += _read(descriptor, clock)
                times.warm_s += _read(descriptor, clock)
            finally:
                os.close(descriptor)
    except (OSError, ollama_store.StoreError) as error:
        times.message = f"{model.name} cannot be read: {getattr(error, 'strerror', None) or error}"
    return times


def evict(model: Model, share: str) -> None:
    """Let the kernel forget what of a model is in memory and in no program's use. A missing model is passed over."""
    try:
        for path in model.list_files(share):
            descriptor = page_cache.open_file(path)
            try:
                _evict(descriptor)
            finally:
                os.close(descriptor)
    except (OSError, ollama_store.StoreError):
        return


def _evict(descriptor: int) -> None:
    os.fsync(descriptor)  # pages that are not on the disk yet cannot go
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _read(descriptor: int, clock: Callable[[], float]) -> float:
    """Read a file to its end. Return the seconds."""
    buffer = bytearray(page_cache.BLOCK_BYTES)
    began, offset = clock(), 0
    while count := os.preadv(descriptor, [buffer], offset):
        offset += count
    return clock() - began
