# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the files of a tree of models, and read them by descriptor: links are not followed, other mounts not entered."""

from __future__ import annotations

import codecs
import ctypes
import errno
import hashlib
import os
import platform
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths

BLOCK_BYTES = 1024 * 1024
#: Begins the name of what :mod:`hard_links` makes beside a file for a moment, and what is reported of one that is left.
LINK_PREFIX = ".noslop-link-"
LEFT = "left by a run that was ended: look what it is, and move it away"
#: A download of Ollama's that has not ended: ``sha256-<hex>-partial``, ``sha256-<hex>-partial-3``.
_PARTIAL = "-partial"
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Non-blocking: opening a named pipe would wait for its writer.
_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: The number of ioprio_set(2) by machine, and the class that reads when no other process does.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_OF_PROCESS, _IOPRIO_IDLE = 1, 3 << 13

# Python loads this at its first use, when the account that reads may not be able to read it any more.
codecs.lookup("ascii")


@dataclass(frozen=True)
class File:
    """A regular file of a tree. ``path`` is below it; ``size`` and ``stored``, what it has on the disk, are bytes."""

    path: str
    size: int
    stored: int
    device: int
    inode: int
    changed_ns: int
    modified_ns: int
    uid: int
    gid: int
    mode: int
    names: int

    @property
    def identity(self) -> tuple[int, int]:
        """Return what all names of one file have in common."""
        return self.device, self.inode

    def is_of(self, status: os.stat_result) -> bool:
        """Return whether a status is that of this file, unchanged. Its owner can set mtime, and not ctime."""
        now = (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
        return now == (self.device, self.inode, self.size, self.changed_ns)


def make_file(path: str, status: os.stat_result) -> File:
    """Return the file with this status."""
    return File(
        path=path,
        size=status.st_size,
        stored=status.st_blocks * 512,
        device=status.st_dev,
        inode=status.st_ino,
        changed_ns=status.st_ctime_ns,
        modified_ns=status.st_mtime_ns,
        uid=status.st_uid,
        gid=status.st_gid,
        mode=stat.S_IMODE(status.st_mode),
        names=status.st_nlink,
    )


def scan(top: int, report: Callable[[str, str], None] = lambda *__: None) -> Iterator[File]:
    """Yield the regular files below an open directory, in the order of their names.

    Hidden names, links, what is neither file nor directory, other mounts, and downloads of Ollama's that have not ended
    are left out.

    Args:
        top: the open directory.
        report: gets the path of a directory that cannot be read, or of what begins with :data:`LINK_PREFIX`, and the
            reason, which is :data:`LEFT` for the latter.
    """
    yield from _scan(top, "", safe_paths.mount_id(top), report)


def _scan(directory: int, path: str, mount: str, report: Callable[[str, str], None]) -> Iterator[File]:
    for name in sorted(os.listdir(directory)):
        inner = f"{path}{name}"
        if name.startswith(LINK_PREFIX):
            report(inner, LEFT)
        if name.startswith(".") or _PARTIAL in name:
            continue
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield make_file(inner, status)
        elif stat.S_ISDIR(status.st_mode):
            if inner.count("/") > safe_paths.MAX_DEPTH:
                report(inner, f"a directory deeper than {safe_paths.MAX_DEPTH}")
                continue
            try:
                below = os.open(name, _READ_DIRECTORY, dir_fd=directory)
            except OSError as error:
                report(inner, error.strerror or str(error))
                continue
            try:
                if safe_paths.mount_id(below) == mount:
                    yield from _scan(below, f"{inner}/", mount, report)
            finally:
                os.close(below)


def open_top(path: str) -> int:
    """Return a descriptor of the directory of a tree."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_parent(top: int, path: str) -> int:
    """Return a descriptor of the directory that a path below an open directory lies in. No link is followed."""
    current = os.dup(top)
    for name in path.split("/")[:-1]:
        _require_plain(name, path)
        try:
            below = os.open(name, _READ_DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


def open_file(top: int, path: str) -> int:
    """Return a descriptor of a regular file below an open directory, for reading. No link is followed.

    Raises:
        OSError: it is missing, a link, no regular file, or cannot be read.
    """
    name = path.rpartition("/")[2]
    _require_plain(name, path)
    parent = open_parent(top, path)
    try:
        descriptor = os.open(name, _READ_FILE, dir_fd=parent)
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "this is no file", path)
    return descriptor


def hash_file(descriptor: int, report: Callable[[int], None]) -> str:
    """Return the SHA-256 of an open file. ``report`` gets the bytes so far."""
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(descriptor, BLOCK_BYTES, offset):
        digest.update(block)
        # What services have in memory is worth more than what is read once.
        os.posix_fadvise(descriptor, offset, len(block), os.POSIX_FADV_DONTNEED)
        offset += len(block)
        report(offset)
    return digest.hexdigest()


def lower_priority() -> None:
    """Let this process compute and read when no other process wants to."""
    os.nice(19)
    number = _IOPRIO_SET.get(platform.machine())
    if number:
        ctypes.CDLL(None).syscall(number, _IOPRIO_OF_PROCESS, 0, _IOPRIO_IDLE)


def _require_plain(name: str, path: str) -> None:
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "this is no path below the directory", path)
