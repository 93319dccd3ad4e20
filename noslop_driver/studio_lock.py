# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a studio's directory: one driver at a time, and none while a killed one's playbook still runs.

flock(2) belongs to the open file: whoever inherited the descriptor keeps the lock until they end. Each playbook and
its watchdog get it (`descriptors`), so that it outlives a driver that is killed until its last task has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from noslop_driver.ansible.watchdog import STOP_TIMEOUT_S, is_alive
from noslop_driver.errors import UsageError

_POLL_S = 0.2
_locked: list[int] = []


def descriptors() -> list[int]:
    """Return the descriptors of the locks that this process has."""
    return list(_locked)


@contextlib.contextmanager
def lock(path: Path, studio: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Lock a studio's directory with the file `path`.

    Where its last driver was killed, wait until what that one started has ended; `on_wait` is called once before.

    Raises:
        UsageError: another driver has the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, studio, on_wait)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        _locked.append(descriptor)
        try:
            yield
        finally:
            _locked.remove(descriptor)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, studio: Path, on_wait: Callable[[str], None]) -> None:
    deadline = None
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            if not pid.isdecimal() or is_alive(int(pid)):
                who = f" (process {pid})" if pid else ""
                raise UsageError(
                    f"Another noslop-driver is at work on {studio}{who}. Wait until it has ended."
                ) from error
            if deadline is None:
                on_wait(f"The last noslop-driver on {studio} was killed. Waiting until its tasks have ended.")
                deadline = time.monotonic() + STOP_TIMEOUT_S
            elif time.monotonic() > deadline:
                raise UsageError(
                    f"What the killed noslop-driver on {studio} started has not ended. Find it with "
                    f"'fuser {studio}/.noslop/lock'."
                ) from error
            time.sleep(_POLL_S)
        else:
            return
