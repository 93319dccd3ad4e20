# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write backups into a directory, whole and durable or not at all, and remove old ones.

Owns: names of backups and everything by those names. Touches nothing else there, and follows no link to it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from noslop_backend.core.errors import ConfigurationError, ConflictError
from noslop_backend.maintenance.backup.key import Key, Mac
from noslop_backend.share import CHUNK_BYTES

#: The keyed checksum beside a backup, and the plain one of the versions before.
MAC, CHECKSUM = ".mac", ".blake3"
_NAME = re.compile(r"backend-(?P<time>[0-9]{8}T[0-9]{12}Z)-[0-9a-f]{6}\.(?:sqlite3|dump)", re.ASCII)
#: To the microsecond: the newest of several in one second has to sort as such, or it would be removed.
_TIME = "%Y%m%dT%H%M%S%fZ"
#: Directories that copies are made in.
WORK = ".backup-"
#: A process that writes a copy for longer than this is dead.
_PART_AGE = timedelta(days=1)
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def name_of(moment: datetime, random: str, suffix: str) -> str:
    """Return the name of a backup."""
    return f"backend-{moment.strftime(_TIME)}-{random}.{suffix}"


def is_name(name: str) -> bool:
    """Return whether this is the name of a backup."""
    return _NAME.fullmatch(name) is not None


def made_at(name: str) -> datetime:
    """Return when a backup was made, by its name."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC)


@contextmanager
def opened(path: Path, *, own: bool) -> Iterator[BackupDirectory]:
    """Open a directory of backups.

    Args:
        path: where it is.
        own: the studio's own, which is made when it is not there, and closed to all other accounts.

    Raises:
        ConfigurationError: it is not there, is no directory, or belongs to another account.
    """
    try:
        if own:
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(
            f"{path} is no directory that backups can be in: {error.strerror}. Make it, for the service's account, or "
            "name another one."
        ) from error
    try:
        if own:
            _close_to_others(path, descriptor)
        yield BackupDirectory(path, descriptor)
    finally:
        os.close(descriptor)


def _close_to_others(path: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"The directory of the backups {path} belongs to the uid {status.st_uid} and not to the service's account "
            f"({os.geteuid()}), so another account decides what is in it. Give it to that account, or name another one "
            "(NOSLOP_BACKUP_DIR)."
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        os.fchmod(descriptor, 0o700)


class BackupDirectory:
    """An open directory of backups."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def names(self) -> list[str]:
        """Return the names of all backups, the newest first."""
        return sorted((name for name in os.listdir(self.descriptor) if is_name(name)), reverse=True)

    def store(self, name: str, source: BinaryIO, key: Key) -> Mac:
        """Write a backup and, before it has its name, its keyed checksum.

        Raises:
            ConflictError: the name is taken, or the disk takes no more. Nothing of it is left.
        """
        try:
            hasher = key.hasher(name)
            while piece := source.read(CHUNK_BYTES):
                hasher.update(piece)
            mac = Mac(hasher.hexdigest(), name, key.id)
            self._write(f"{name}{MAC}", iter([mac.line().encode("ascii")]))
            source.seek(0)
            try:
                self._write(name, iter(lambda: source.read(CHUNK_BYTES), b""))
            except BaseException:
                self.remove([f"{name}{MAC}"])
                raise
        except FileExistsError as error:
            raise ConflictError(f"{self.path / name} is there already. Move it away and try again.") from error
        except OSError as error:
            raise ConflictError(
                f"Writing {self.path / name} failed: {error.strerror}. Older backups are as they were. Free space "
                "there, or name another directory, and try again."
            ) from error
        return mac

    def _write(self, name: str, pieces: Iterator[bytes]) -> None:
        part = f"{name}.part"
        # What the database holds is for the service only. The mode comes with the name: not every file system of a
        # second place has chmod(2).
        descriptor = os.open(part, _CREATE, 0o400, dir_fd=self.descriptor)
        try:
            try:
                for piece in pieces:
                    view = memoryview(piece)
                    while view:
                        view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                # NFS tells of failed writes as late as in close().
                os.close(descriptor)
            try:
                os.link(part, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)
            except FileExistsError:
                # The answer to a link that worked may have been lost on the way (NFS).
                if os.stat(part, dir_fd=self.descriptor, follow_symlinks=False).st_nlink < 2:
                    raise
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # No hard links there (a USB stick). The name is made of the time and chance: no other file has it.
                os.rename(part, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part, dir_fd=self.descriptor)
        os.fsync(self.descriptor)

    def thin_out(self, keep: int, now: datetime) -> list[str]:
        """Remove all but the newest backups, and what processes that died have left. Return the names that went.

        Backups whose time lies ahead were made while the clock was wrong, before the one that was made just now: they
        count as older than all others.
        """
        there = sorted(self.names(), key=lambda name: (made_at(name) <= now, name), reverse=True)
        old, kept = there[keep:], set(there[:keep])
        left: list[str] = []
        for name in sorted(os.listdir(self.descriptor)):
            whole = name.removesuffix(".part").removesuffix(MAC)
            if is_name(whole) and whole not in kept and whole not in old and abs(now - made_at(whole)) > _PART_AGE:
                left.append(name)
            if name.startswith(WORK):
                self._remove_work(name, now)
        self.remove([*left, *(each for name in old for each in (name, f"{name}{MAC}"))])
        return old

    def _remove_work(self, name: str, now: datetime) -> None:
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            if abs(now - datetime.fromtimestamp(status.st_mtime, UTC)) > _PART_AGE:
                shutil.rmtree(name, dir_fd=self.descriptor)

    def remove(self, names: list[str]) -> None:
        """Remove files, as far as they are there."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.descriptor)
        os.fsync(self.descriptor)
