# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write new files in `.staging` and hash them at once, and hash files that are there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from blake3 import blake3

from noslop_backend.share.os_errors import translate_os_errors

CHUNK_BYTES = 4 * 1024 * 1024
PUBLISHED_MODE = 0o444


@dataclass(frozen=True)
class FileContent:
    """What is known of a file on the share after it was written or hashed."""

    size_bytes: int
    blake3: str
    inode: int
    mtime_ns: int


class Writer:
    """A new file in `.staging`, hashed while it is written."""

    def __init__(self, descriptor: int, doing: str, directory: int) -> None:
        self._descriptor = descriptor
        self._directory = directory
        self._doing = doing
        self._hash = blake3()
        self.size_bytes = 0

    def write(self, piece: bytes | memoryview) -> None:
        """Write all of it."""
        with translate_os_errors(self._doing, len(piece), self._directory):
            view = memoryview(piece)
            while view:
                view = view[os.write(self._descriptor, view) :]
        self._hash.update(piece)
        self.size_bytes += len(piece)

    def finish(self, mtime_ns: int | None = None) -> FileContent:
        """Make the content final and durable, with a time of its own if one is given.

        NFS tells of failed writes as late as in close().
        """
        with translate_os_errors(self._doing, 0, self._directory):
            if mtime_ns is not None:
                os.utime(self._descriptor, ns=(mtime_ns, mtime_ns))
            os.fchmod(self._descriptor, PUBLISHED_MODE)
            os.fsync(self._descriptor)
            status = os.fstat(self._descriptor)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        return FileContent(self.size_bytes, self._hash.hexdigest(), status.st_ino, status.st_mtime_ns)

    def close(self) -> None:
        """Close the descriptors; what was written stays in `.staging`."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


def hash_descriptor(descriptor: int, alive: Callable[[], None] = lambda: None) -> FileContent:
    """Read an open file from its beginning to its end and tell what it is, by what it was before the first byte."""
    before = os.fstat(descriptor)
    hasher, offset = blake3(), 0
    while piece := os.pread(descriptor, CHUNK_BYTES, offset):
        hasher.update(piece)
        offset += len(piece)
        alive()
    return FileContent(offset, hasher.hexdigest(), before.st_ino, before.st_mtime_ns)
