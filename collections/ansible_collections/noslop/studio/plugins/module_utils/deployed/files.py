# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read files and directories as a comparison needs them: owner, mode, and a checksum of the content.

The checksums have a key, so that those of passwords and tokens are of no use outside this host.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator

#: Written by each Python that reads a module, and by none of NoSlop's.
_CACHES = frozenset({"__pycache__"})
_BLOCK_BYTES = 1024 * 1024


def read_entry(path: str, key: bytes) -> dict[str, str]:
    """Return the properties of a file, a link or a directory itself; none where there is nothing."""
    try:
        status = os.lstat(path)
        properties = {
            "kind": _kind(status.st_mode),
            "owner": f"{status.st_uid}:{status.st_gid}",
            "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        }
        if stat.S_ISLNK(status.st_mode):
            properties["target"] = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            properties["content"] = _digest_file(path, key)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return properties


def read_below(path: str, key: bytes, depth: int = 32) -> dict[str, dict[str, str]]:
    """Return the properties of ``path`` and of what lies below it, by path, down to a number of levels."""
    below = {path: read_entry(path, key)}
    if depth and below[path].get("kind") == "directory":
        for name in sorted(os.listdir(path)):
            below.update(read_below(os.path.join(path, name), key, depth - 1))
    return {entry: properties for entry, properties in below.items() if properties}


def read_tree(path: str, key: bytes) -> dict[str, str]:
    """Return a checksum of the names, owners, modes, sizes and times of all files below a directory, and their number.

    The files are not read: an environment with PyTorch has gigabytes of them. A content that was changed without its
    size and its time is not noticed.
    """
    properties = read_entry(path, key)
    if properties.get("kind") != "directory":
        return properties
    total, count = hashlib.blake2b(key=key, digest_size=16), 0
    for line in _list_tree(path, ""):
        total.update(line.encode(errors="surrogateescape") + b"\0")
        count += 1
    return {**properties, "entries": str(count), "files": total.hexdigest()}


def _list_tree(top: str, below: str) -> Iterator[str]:
    with os.scandir(os.path.join(top, below)) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name in _CACHES:
            continue
        status = entry.stat(follow_symlinks=False)
        name = os.path.join(below, entry.name)
        line = f"{name}|{status.st_mode:o}|{status.st_uid}|{status.st_gid}"
        if stat.S_ISDIR(status.st_mode):
            # Not its time, which a cache of Python in it changes.
            yield line
            yield from _list_tree(top, name)
        elif stat.S_ISLNK(status.st_mode):
            yield f"{line}|{os.readlink(os.path.join(top, name))}"
        else:
            yield f"{line}|{status.st_size}|{status.st_mtime_ns}"


def digest(content: bytes, key: bytes) -> str:
    """Return the checksum of a content."""
    return hashlib.blake2b(content, key=key, digest_size=16).hexdigest()


def _digest_file(path: str, key: bytes) -> str:
    total = hashlib.blake2b(key=key, digest_size=16)
    # Non-blocking, not through a link: another one may have put something else there meanwhile.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def _kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "special file")
