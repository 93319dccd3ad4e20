# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a zip archive as a stream, of files that are stored as they are. Its size is known before the first byte.

The standard library's `zipfile` writes the format, Zip64 included, to an output that cannot seek: the size and checksum
of each file follow its content. Touches no disk.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from zipfile import ZipFile, ZipInfo

#: No piece but the last is smaller, so that a thousand small files are no thousand pieces.
_PIECE_BYTES = 64 * 1024
#: What the format's dates can say, which have no time zone.
_FIRST, _LAST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
_MODE = (stat.S_IFREG | 0o644) << 16


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive: its path there, its size, and its time."""

    path: str
    size_bytes: int
    modified: datetime


M = TypeVar("M", bound=Member)


class _Output:
    """An output that cannot seek, as a pipe cannot: it counts bytes, and keeps those that were not yet sent."""

    def __init__(self) -> None:
        self.position = 0
        self.waiting_bytes = 0
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        """Keep some bytes."""
        self.position += len(part)
        self.waiting_bytes += len(part)
        self._parts.append(part)
        return len(part)

    def tell(self) -> int:
        """Return how many bytes came so far."""
        return self.position

    def flush(self) -> None:
        """Do nothing: `drain` sends."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def drain(self) -> bytes:
        """Return what was written since the last call."""
        piece = b"".join(self._parts)
        self._parts.clear()
        self.waiting_bytes = 0
        return piece


def measure(members: Iterable[Member]) -> int:
    """Return the size in bytes of the archive that `stream` writes of these members: by writing one without contents.

    What depends on sizes and offsets (Zip64) is written as for the contents themselves.
    """
    output = _Output()
    with ZipFile(output, "w") as archive:
        for member in members:
            info = _info(member)
            with archive.open(info, "w"):
                output.position += member.size_bytes
            info.file_size = info.compress_size = member.size_bytes
            output.drain()
    return output.position


def stream(members: Iterable[M], read: Callable[[M], Iterator[bytes]]) -> Generator[bytes, None, None]:
    """Write an archive of these members, in pieces.

    Args:
        members: no two have one path.
        read: return the content of a member in pieces, all `size_bytes` of it. What it raises ends the stream before
            the archive's directory, without which no program opens it.
    """
    output = _Output()
    with ZipFile(output, "w") as archive:
        for member in members:
            with archive.open(_info(member), "w") as entry:
                for piece in read(member):
                    entry.write(piece)
                    if output.waiting_bytes >= _PIECE_BYTES:
                        yield output.drain()
    yield output.drain()


def _info(member: Member) -> ZipInfo:
    moment = member.modified.astimezone().timetuple()[:6]
    info = ZipInfo(member.path, min(max(_FIRST, moment), _LAST))
    info.external_attr = _MODE
    # `zipfile` makes room for sizes above 2 GiB by what is announced here.
    info.file_size = member.size_bytes
    return info
