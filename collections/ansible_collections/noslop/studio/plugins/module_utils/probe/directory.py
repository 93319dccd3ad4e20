# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, open and remove the directory of a probe on a share, and read and write files in it by descriptor."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator

#: Name of the directory, before the id of its studio.
PREFIX = ".noslop-probe-"
#: Separates the studio's id, which cannot contain it, from a further word.
SEPARATOR = "~"
#: A directory with more entries is no probe's, and is left alone.
LIMIT_ENTRIES = 5000
#: What an interrupted verification left is removed by a later probe when it is this old.
STALE_S = 3600
_LIMIT_DEPTH = 3
#: An NFS client removes a file that another process has open only after it is closed.
_REMOVAL_S = 5.0
_POLL_S = 0.2
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ProbeError(OSError):
    """The directory of a probe cannot be made. The message is for the user."""


def make_name(studio_id: str, word: str = "") -> str:
    """Return the name of the directory of a studio's probe."""
    return PREFIX + studio_id + (SEPARATOR + word if word else "")


def make(share: str, name: str) -> None:
    """Make the directory of a probe in a share, which no other process may have made.

    Raises:
        OSError: it is there already, or cannot be made.
    """
    with open_path(share) as parent:
        os.mkdir(name, 0o700, dir_fd=parent)


@contextlib.contextmanager
def open_path(path: str) -> Iterator[int]:
    """Open a directory that is no link."""
    descriptor = os.open(path, _OPEN_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_below(parent: int, *names: str) -> Iterator[int]:
    """Open a directory below an open one, of which no part may be a link."""
    descriptor = os.dup(parent)
    try:
        for name in names:
            below = os.open(name, _OPEN_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def remove_all(share: str, studio_id: str) -> list[str]:
    """Remove the directories that probes of this studio have left in a share. Return their names.

    Raises:
        ProbeError: something has such a name and is no directory of a probe.
        OSError: one of them cannot be removed.
    """
    name = make_name(studio_id)
    with open_path(share) as parent:
        ours = sorted(one for one in os.listdir(parent) if one == name or _is_stale(parent, one, name + SEPARATOR))
        for one in ours:
            _remove(share, parent, one)
    return ours


def _is_stale(parent: int, name: str, prefix: str) -> bool:
    """Return whether a directory of a verification was left: one that runs has a newer one."""
    if not name.startswith(prefix):
        return False
    try:
        return time.time() - os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime > STALE_S
    except FileNotFoundError:
        return False


def remove(share: str, name: str) -> None:
    """Remove the directory of one probe from a share, as far as it is there."""
    with open_path(share) as parent:
        _remove(share, parent, name)


def _remove(share: str, parent: int, name: str) -> None:
    """Remove a tree. What another host has open under a temporary name disappears a moment later."""
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        try:
            _remove_tree(parent, name, _LIMIT_DEPTH)
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            raise ProbeError(
                f"{os.path.join(share, name)} is there and is no directory. Look at what it is, and remove it."
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY) or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _remove_tree(parent: int, name: str, depth: int) -> None:
    with open_below(parent, name) as directory:
        entries = os.listdir(directory)
        if len(entries) > LIMIT_ENTRIES or depth == 0:
            raise ProbeError(f"{name} holds more than a probe makes. Look at what it is, and remove it.")
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(entry, dir_fd=directory, follow_symlinks=False).st_mode):
                    _remove_tree(directory, entry, depth - 1)
                else:
                    os.unlink(entry, dir_fd=directory)
    os.rmdir(name, dir_fd=parent)


def create(directory: int, name: str, content: bytes = b"", mode: int = 0o640) -> None:
    """Write a new file. Its close is checked: a network file system reports late errors there.

    Raises:
        FileExistsError: the name is in use.
    """
    descriptor = os.open(name, _CREATE, mode, dir_fd=directory)
    try:
        write_whole(descriptor, content)
    finally:
        os.close(descriptor)


def write_whole(descriptor: int, content: bytes) -> None:
    """Write all bytes."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read(directory: int, name: str, limit_bytes: int) -> bytes:
    """Return the content of a file that is no link, at most ``limit_bytes`` of it."""
    descriptor = os.open(name, _READ, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(limit_bytes)


def open_file(directory: int, name: str, *, new: bool = False) -> int:
    """Open a file for reading and writing: a new one, or one that is there."""
    flags = _CREATE if new else os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, flags, 0o640, dir_fd=directory)
