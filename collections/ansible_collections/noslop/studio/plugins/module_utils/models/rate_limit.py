# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit the bytes a second that several downloads take together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimit:
    """A limit that threads share. Each waits until the bytes that it received may have come."""

    def __init__(
        self,
        bytes_per_s: float,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Set the limit; 0 is none."""
        self._bytes_per_s, self._clock, self._wait = bytes_per_s, clock, wait
        self._free_at = clock()
        self._lock = threading.Lock()

    def wait_for_turn(self, count: int) -> None:
        """Wait for the turn of ``count`` bytes."""
        if not self._bytes_per_s:
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + count / self._bytes_per_s
            wait_s = self._free_at - now
        self._wait(wait_s)
