# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents: written and hashed at once, or hashed as somebody else wrote them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from blake3 import blake3

from noslop_backend.share.os_errors import translate_os_errors

CHUNK_BYTES = 4 * 1024 * 1024
PUBLISHED_MODE = 0o444
#: By the least that the file system keeps: Linux's own nanosecond, Windows' 100 ns (SMB), seconds, FAT's two.
_EARLIER_NS = (1, 100, 1_000_000_000, 2_000_000_000)


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
            found = os.fstat(self._descriptor)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        return FileContent(self.size_bytes, self._hash.hexdigest(), found.st_ino, found.st_mtime_ns)

    def close(self) -> None:
        """Give the descriptors back; what was written stays in `.staging`."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


class Foreign:
    """A file that somebody else wrote, open.

    What is hashed here is what is published, whatever its name leads to by then.
    """

    def __init__(self, descriptor: int, doing: str) -> None:
        self.descriptor = descriptor
        self._doing = doing

    def seal(self) -> os.stat_result:
        """Take the right to write away and make the content durable; gives what the file is from now on.

        A descriptor that somebody has open still writes. Kernels count times in ticks of milliseconds, so that such a
        write may leave the time of the last one: the file gets an older time here, which no write can give it.
        """
        with translate_os_errors(self._doing):
            os.fchmod(self.descriptor, PUBLISHED_MODE)
            before = os.fstat(self.descriptor)
            for earlier_ns in _EARLIER_NS:
                os.utime(self.descriptor, ns=(before.st_atime_ns, before.st_mtime_ns - earlier_ns))
                sealed = os.fstat(self.descriptor)
                if sealed.st_mtime_ns < before.st_mtime_ns:
                    break
            os.fsync(self.descriptor)
            return sealed

    def head(self, size_bytes: int) -> bytes:
        """Return the first bytes."""
        return self.read_at(0, size_bytes)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return so many bytes at an offset, fewer at the end."""
        with translate_os_errors(self._doing):
            return os.pread(self.descriptor, size_bytes, offset)

    def hash(self, alive: Callable[[], None]) -> FileContent:
        """Read the file through; `alive` is called at every step."""
        with translate_os_errors(self._doing):
            return hash_descriptor(self.descriptor, alive)

    def stream(self) -> BinaryIO:
        """Open it for reading from the beginning."""
        with translate_os_errors(self._doing):
            stream = os.fdopen(os.dup(self.descriptor), "rb")
            stream.seek(0)
            return stream


def hash_descriptor(descriptor: int, alive: Callable[[], None] = lambda: None) -> FileContent:
    """Read an open file from its beginning to its end and tell what it is, by what it was before the first byte."""
    found = os.fstat(descriptor)
    hasher, offset = blake3(), 0
    while piece := os.pread(descriptor, CHUNK_BYTES, offset):
        hasher.update(piece)
        offset += len(piece)
        alive()
    return FileContent(offset, hasher.hexdigest(), found.st_ino, found.st_mtime_ns)
