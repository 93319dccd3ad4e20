# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let one run at a time fetch, and tell others how far it is: a lock and a file in a directory of root's, in memory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.models import whole_file

DIRECTORY = "/run/noslop-models"
#: Seconds between two writes of the progress.
INTERVAL_S = 0.5
#: Seconds of the average that the rate is of.
RATE_S = 10.0
_PROGRESS = "progress.json"
_LOCK = "lock"


@dataclass
class Row:
    """One model of a run. ``received`` and ``size`` are in bytes, 0 for unknown; ``rate`` in bytes a second.

    ``state`` is waiting, fetching, present, fetched or failed.
    """

    path: str
    state: str = "waiting"
    received: int = 0
    size: int = 0
    rate: float = 0.0
    message: str = ""


class Lock:
    """The lock of the run that fetches. A run that ends in any way releases it."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        """Open the lock, and make its directory."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(os.path.join(directory, _LOCK), flags, 0o600)

    def acquire(self) -> bool:
        """Acquire the lock, after the run that has it now. Return whether there was one."""
        waited = not self.try_to_acquire()
        if waited:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            self.give_to(os.getpid())
        return waited

    def try_to_acquire(self) -> bool:
        """Acquire the lock where no run has it. Return whether it was acquired."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.give_to(os.getpid())
        return True

    def give_to(self, pid: int) -> None:
        """Record another process as the one that has the lock: it has inherited the descriptor."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(pid).encode(), 0)


def read_holder(directory: str = DIRECTORY) -> int | None:
    """Return the process that fetches now, or ``None``."""
    with contextlib.suppress(FileNotFoundError), open(os.path.join(directory, _LOCK), "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = stream.read(20)
            return int(text) if text.isdigit() else None
    return None


class Progress:
    """The progress of a run, written for others."""

    def __init__(
        self, rows: list[Row], directory: str = DIRECTORY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with the models of the run."""
        self.rows = {row.path: row for row in rows}
        self._path = os.path.join(directory, _PROGRESS)
        self._clock = clock
        self._written = 0.0
        #: by model: when its rate was measured, and its bytes then
        self._marks: dict[str, tuple[float, int]] = {}
        self.write()

    def update(self, path: str, received: int, size: int) -> None:
        """Record the bytes of a model."""
        row, now = self.rows[path], self._clock()
        started = row.state != "fetching"
        row.state, row.received, row.size = "fetching", received, size
        since, before = self._marks.setdefault(path, (now, received))
        if received < before:
            self._marks[path] = (now, received)
        elif now - since >= 1:
            rate = (received - before) / (now - since)
            row.rate = rate if not row.rate else row.rate + (rate - row.rate) * min(1.0, (now - since) / RATE_S)
            self._marks[path] = (now, received)
        if started or now - self._written >= INTERVAL_S:
            self.write()

    def end(self, path: str, state: str, message: str = "") -> None:
        """Record how a model ended."""
        row = self.rows[path]
        row.state, row.message, row.rate = state, message, 0.0
        self.write()

    def write(self) -> None:
        """Write all rows, whole or not at all."""
        self._written = self._clock()
        whole_file.write_json(self._path, [asdict(row) for row in self.rows.values()])


def read(directory: str = DIRECTORY) -> list[Row]:
    """Return the models of the run that fetches now, or of the last one; none where there was none."""
    try:
        with open(os.path.join(directory, _PROGRESS), encoding="utf-8") as stream:
            return [Row(**row) for row in json.load(stream)]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def read_state(directory: str = DIRECTORY) -> dict[str, Any]:
    """Return how far the run is that fetches now, as the modules do with ``state: progress``."""
    return {"running": read_holder(directory), "models": [{**asdict(row), "sha256": ""} for row in read(directory)]}


def stop_holder(directory: str = DIRECTORY, *, check_mode: bool) -> bool:
    """End the run that fetches now. Return whether there is one."""
    holder = read_holder(directory)
    if holder and not check_mode:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, signal.SIGTERM)
    return holder is not None
