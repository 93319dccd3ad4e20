# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Acquire, renew and release the lease on the storage server, which allows one run to change the studio.

One file in a directory of root's, written under a lock of the directory. Times are those of the server's clock. A run
renews its lease at the start of each playbook; a lease that was not renewed for ``EXPIRY_S`` has expired.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

#: In memory: a restart of the server ends every run there, and removes the lease with it.
DIRECTORY = "/run/noslop-lease"
#: Longer than any playbook runs: a run would not notice that its lease has expired.
EXPIRY_S = 2 * 3600.0
_NAME = "lease.json"


class LeaseError(Exception):
    """The directory cannot be used."""


@dataclass(frozen=True)
class Run:
    """A run of the driver or of ansible-playbook, as its controller describes it."""

    #: unique to the run
    run: str
    #: ``account@controller``
    holder: str
    pid: int
    #: where the process runs and when it started, to decide whether it still runs
    machine: str
    boot: str
    namespace: str
    start_time: str


@dataclass(frozen=True)
class Lease:
    """A run that may change the studio, with the times of acquisition and renewal."""

    run: Run
    acquired: float
    renewed: float

    def is_valid(self, now: float) -> bool:
        """Return whether it has not expired. One that was renewed in the future, by a wrong clock, is not valid."""
        return -EXPIRY_S < now - self.renewed < EXPIRY_S

    def refusal(self, now: float) -> str:
        """Return the message for the run that has to wait."""
        return (
            f"{self.run.holder} (process {self.run.pid} there) has been changing this studio since "
            f"{_time(self.acquired)}, {_minutes(now - self.acquired)} ago. Wait until that run has ended. If it is cut "
            f"off, its lease ends by itself in {_minutes(self.renewed + EXPIRY_S - now)}. When you are sure that it no "
            "longer runs: ansible-playbook -i INVENTORY noslop.studio.release_lease -e noslop_lease=ignore"
        )


def acquire(directory: str, run: Run, now: float, *, replaces: str = "", override: bool = False) -> Lease | None:
    """Acquire or renew the lease for a run.

    Args:
        directory: where the lease lies.
        run: the run that asks.
        now: the time, in seconds since 1970.
        replaces: a run that may be replaced, since its process has ended.
        override: replace any.

    Returns:
        The lease of another run that is valid; None when ``run`` has it now.
    """
    with _locked(directory) as descriptor:
        before = _read(descriptor)
        if before and not override and before.run.run not in (run.run, replaces) and before.is_valid(now):
            return before
        acquired = before.acquired if before and before.run.run == run.run else now
        _write(descriptor, Lease(run, acquired, now))
        return None


def release(directory: str, run: Run, *, override: bool = False) -> None:
    """Release the lease where it is this run's; with ``override`` that of any run."""
    if not os.path.isdir(directory):
        return
    with _locked(directory) as descriptor:
        before = _read(descriptor)
        if before and not override and before.run.run != run.run:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_NAME, dir_fd=descriptor)
        os.rmdir(directory)


def read(directory: str) -> Lease | None:
    """Return the current lease, without changing anything."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[int]:
    """Lock the directory, and make it where it is missing."""
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            status = os.fstat(descriptor)
            if not status.st_nlink:  # it was removed while this waited
                continue
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise LeaseError(f"{directory} may be written by others than root. Remove it and run this again.")
            yield descriptor
            return
        finally:
            os.close(descriptor)


def _read(descriptor: int) -> Lease | None:
    """Return the lease in a directory; None where there is none, or one that cannot be parsed."""
    try:
        with open(os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=descriptor), encoding="utf-8") as file:
            data = json.load(file)
        return Lease(Run(**data["run"]), float(data["acquired"]), float(data["renewed"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write(descriptor: int, lease: Lease) -> None:
    new = f".{_NAME}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=descriptor)
    created = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=descriptor)
    with open(created, "w", encoding="utf-8") as file:
        json.dump(asdict(lease), file)
    os.rename(new, _NAME, src_dir_fd=descriptor, dst_dir_fd=descriptor)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _minutes(seconds: float) -> str:
    count = max(0, round(seconds / 60))
    return "1 minute" if count == 1 else f"{count} minutes"
