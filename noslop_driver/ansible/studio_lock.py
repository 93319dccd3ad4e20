# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock a studio's directory for one driver at a time, and while the playbook of a killed driver still runs.

A flock(2) belongs to the open file: each process that inherited the descriptor keeps the lock until it ends. Each
playbook and its watchdog inherit it (`list_descriptors`), so that the lock of a killed driver stays until its last task
has ended.
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


def list_descriptors() -> list[int]:
    """Return the descriptors of the locks of this process."""
    return list(_locked)


@contextlib.contextmanager
def lock(path: Path, studio: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Lock a studio's directory with the file `path`.

    If its last driver was killed, call `on_wait` once and wait until the tasks of that driver have ended.

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
                owner = f" (process {pid})" if pid else ""
                raise UsageError(
                    f"Another noslop-driver is at work on {studio}{owner}. Wait until it has ended."
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
