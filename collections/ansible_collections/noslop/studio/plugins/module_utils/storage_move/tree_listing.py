# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List every entry of a share with its metadata and SHA-256, in an order that is the same on both hosts.

The two lists are compared through the connections of Ansible, so a copy is found right or wrong without trust in the
channel that it came by. ``rsync --checksum`` would ask the same channel again, names no difference of directories, and
reads from memory what it has just written.

A file that was hashed before is not read again while its inode, size, mtime and ctime are the same: no program can set
a ctime. So most of the reading happens while the old server still serves.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.record import MoveError

BLOCK_BYTES = 1024 * 1024
#: Files that are read at once: a disk of its own, or a RAID, is not full with one.
THREADS = 4
#: A file that changed so shortly before it was read may change again with the same ctime.
FRESH_NS = 2_000_000_000
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}

#: Inode, size, mtime and ctime in nanoseconds: what changes with each change of a file.
State = tuple[int, int, int, int]


@dataclass(frozen=True)
class Listing:
    """A share as it was listed.

    Attributes:
        digest: SHA-256 of the list, the same for two equal trees.
        fingerprint: SHA-256 of the states of all inodes on this host, for :func:`read_fingerprint`.
        entries: their number.
        size: bytes of the files.
    """

    digest: str
    fingerprint: str
    entries: int
    size: int


@dataclass(frozen=True)
class Usage:
    """Bytes of the file system's blocks, and inodes, that a tree occupies."""

    size: int
    inodes: int


def read_usage(path: str) -> Usage:
    """Return what a tree occupies, each inode once. A tree that is missing occupies nothing."""
    size = inodes = 0
    counted: set[int] = set()
    if not os.path.isdir(path):
        return Usage(0, 0)
    for _name, _base, status, _directory in _walk(path):
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if status.st_ino in counted:
                continue
            counted.add(status.st_ino)
        size += status.st_blocks * 512
        inodes += 1
    return Usage(size, inodes)


def read_fingerprint(path: str) -> str:
    """Return a SHA-256 of the states of all inodes of a tree: any change of a file, or of its metadata, changes it.

    The top directory counts by its names only, since a rename of it changes its times.
    """
    digest = hashlib.sha256()
    for name, _base, status, _directory in _walk(path):
        digest.update(_state_line(name, status))
    return digest.hexdigest()


def write_listing(path: str, file: str, cache: str, report: Callable[[int], None] = lambda _size: None) -> Listing:
    """List a tree into a file, one JSON object a line.

    Args:
        path: the top of the tree.
        file: where the list goes; root's.
        cache: the file with the hashes of the listing before; root's. It is replaced.
        report: gets the number of bytes that were hashed, or known already, since the last call.

    Raises:
        MoveError: a file system is mounted in the tree.
        OSError: a file cannot be read.
    """
    hashed = _read_cache(cache)
    started = time.time_ns()
    digest, fingerprint = hashlib.sha256(), hashlib.sha256()
    entries = size = 0
    first_names: dict[int, str] = {}
    with (
        open(f"{file}.new", "wb") as lines,
        open(f"{cache}.new", "w", encoding="utf-8") as hashes,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for name, entry, status, future in _hash_all(_list_entries(path, first_names), hashed, pool):
            if future is not None:
                entry["sha256"] = sha256 = future if isinstance(future, str) else future.result()
                if status.st_ctime_ns < started - FRESH_NS:
                    hashes.write(json.dumps([list(_state(status)), sha256]) + "\n")
                size += status.st_size
                report(status.st_size)
            line = json.dumps(entry, sort_keys=True).encode() + b"\n"
            lines.write(line)
            digest.update(line)
            if name:
                fingerprint.update(_state_line(name, status))
                entries += 1
    os.replace(f"{file}.new", file)
    os.replace(f"{cache}.new", cache)
    return Listing(digest.hexdigest(), fingerprint.hexdigest(), entries, size)


_Listed = tuple[str, dict[str, Any], os.stat_result, "int | None"]


def _list_entries(path: str, first_names: dict[int, str]) -> Iterator[_Listed]:
    """Yield each entry with its metadata; a file that is to be hashed with an open descriptor."""
    top = os.open(path, _READ_DIRECTORY)
    try:
        yield "", _describe("", os.fstat(top), top), os.fstat(top), None
    finally:
        os.close(top)
    for name, base, status, directory in _walk(path):
        kind = stat.S_IFMT(status.st_mode)
        entry = _describe(name, status, None)
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            first = first_names.setdefault(status.st_ino, name)
            if first != name:
                entry["same_as"] = first
                yield name, entry, status, None
                continue
        if kind == stat.S_IFLNK:
            entry["target"] = os.readlink(base, dir_fd=directory)
        elif kind == stat.S_IFDIR:
            with _opened(base, _READ_DIRECTORY, directory) as descriptor:
                entry["xattrs"] = _read_attributes(descriptor)
        elif kind == stat.S_IFREG:
            descriptor = os.open(base, _OPEN, dir_fd=directory)
            if os.fstat(descriptor).st_ino != status.st_ino:
                os.close(descriptor)
                raise OSError(errno.ESTALE, "was replaced while it was listed", os.path.join(path, name))
            entry["xattrs"] = _read_attributes(descriptor)
            yield name, entry, status, descriptor
            continue
        yield name, entry, status, None


def _describe(name: str, status: os.stat_result, top: int | None) -> dict[str, Any]:
    kind = stat.S_IFMT(status.st_mode)
    entry: dict[str, Any] = {
        "path": name,
        "type": _TYPES.get(kind, "unknown"),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "owner": f"{status.st_uid}:{status.st_gid}",
        "mtime_ns": status.st_mtime_ns,
    }
    if kind == stat.S_IFREG:
        entry["size"] = status.st_size
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        entry["device"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    if top is not None:
        entry["xattrs"] = _read_attributes(top)
    return entry


def _hash_all(
    entries: Iterable[_Listed], hashed: dict[State, str], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, dict[str, Any], os.stat_result, Future[str] | str | None]]:
    """Yield the entries in order, while some files ahead are being hashed."""
    waiting: list[tuple[str, dict[str, Any], os.stat_result, Future[str] | str | None]] = []
    for name, entry, status, descriptor in entries:
        future: Future[str] | str | None = None
        if descriptor is not None:
            before = hashed.get(_state(status))
            if before:
                os.close(descriptor)
                future = before
            else:
                future = pool.submit(_hash, descriptor)
        waiting.append((name, entry, status, future))
        if len(waiting) > THREADS * 4:
            yield waiting.pop(0)
    yield from waiting


def _hash(descriptor: int) -> str:
    """Return the SHA-256 of an open file, from the disk and not from memory, and close it."""
    digest = hashlib.sha256()
    with open(descriptor, "rb", buffering=0) as stream:
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        block = bytearray(BLOCK_BYTES)
        view = memoryview(block)
        while count := stream.readinto(block):
            digest.update(view[:count])
    return digest.hexdigest()


def _walk(path: str) -> Iterator[tuple[str, str, os.stat_result, int]]:
    """Yield path below the top, name, status and an open directory of each entry, sorted by the bytes of the names.

    No link is followed, and no mount point entered.
    """
    top = os.open(path, _READ_DIRECTORY)
    #: the open directories from the top down, each with the names that are still to come, the last one first
    stack: list[tuple[int, str, list[str]]] = [(top, "", _sorted_names(top))]
    mount = safe_paths.mount_id(top)
    try:
        while stack:
            directory, prefix, names = stack[-1]
            if not names:
                stack.pop()
                os.close(directory)
                continue
            base = names.pop()
            name = f"{prefix}/{base}" if prefix else base
            try:
                status = os.stat(base, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield name, base, status, directory
            if stat.S_ISDIR(status.st_mode):
                try:
                    inner = os.open(base, _READ_DIRECTORY, dir_fd=directory)
                except FileNotFoundError:
                    continue
                stack.append((inner, name, []))
                if safe_paths.mount_id(inner) != mount:
                    raise MoveError(
                        f"A file system is mounted at {os.path.join(path, name)}, inside of a share, which clients do "
                        "not see. Unmount it, or mount it elsewhere, and run this again."
                    )
                stack[-1] = (inner, name, _sorted_names(inner))
    finally:
        for directory, _prefix, _names in stack:
            os.close(directory)


def _sorted_names(directory: int) -> list[str]:
    return sorted(os.listdir(directory), key=os.fsencode, reverse=True)


@contextlib.contextmanager
def _opened(name: str, flags: int, directory: int) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_attributes(descriptor: int) -> dict[str, str]:
    """Return the extended attributes of an open file, ACLs among them, each as hexadecimal text."""
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EOPNOTSUPP):
            return {}
        raise
    return {name: os.getxattr(descriptor, name).hex() for name in sorted(names)}


def _state(status: os.stat_result) -> State:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _state_line(name: str, status: os.stat_result) -> bytes:
    return json.dumps([name, *_state(status)]).encode() + b"\n"


def _read_cache(path: str) -> dict[State, str]:
    """Return the hashes of an earlier listing by the state of their file; none where there was none."""
    hashed: dict[State, str] = {}
    with contextlib.suppress(FileNotFoundError, ValueError), open(path, encoding="utf-8") as stream:
        for line in stream:
            state, sha256 = json.loads(line)
            hashed[tuple(state)] = sha256
    return hashed


def hash_file(path: str) -> str:
    """Return the SHA-256 of a list."""
    return _hash(os.open(path, _OPEN))
