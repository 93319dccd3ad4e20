# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write tar archives as a stream of ordinary files, one after the other; nothing is extracted by name.

Headers are read and written by `tarfile`, one block each, and the stream around them is walked here: extended
headers, links, devices, sparse files and whatever else tar has grown are refused, and with them what could be hidden
in them (a header that claims gigabytes and is read into memory, a link that leads out, a file that is larger than the
archive).
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from noslop_backend.core.errors import InvalidRequestError

BLOCK = tarfile.BLOCKSIZE
CHUNK_BYTES = 4 * 1024 * 1024
NAME_LIMIT = 100
#: More than an archive's header can say in octal digits (tar(5), "ustar").
_OCTAL_LIMIT = 8**11
_SIZE, _CHECKSUM = slice(124, 136), slice(148, 156)
_MODE = 0o644


class ArchiveError(InvalidRequestError):
    """The file is no archive of a project, is damaged, or contradicts its manifest. Nothing of it was kept."""

    code = "archive"


class TarWriter:
    """Writes an archive."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, name: str, size_bytes: int, pieces: Iterator[bytes], mtime_s: int = 0) -> None:
        """Write one file.

        Raises:
            ValueError: the name is too long, or the pieces are not `size_bytes` long together.
        """
        self._stream.write(header(name, size_bytes, mtime_s))
        written = 0
        for piece in pieces:
            written += len(piece)
            if written > size_bytes:
                break
            self._stream.write(piece)
        if written != size_bytes:
            raise ValueError(f"{name}: {size_bytes} bytes were announced, {written} or more came")
        self._stream.write(b"\0" * (-size_bytes % BLOCK))

    def end(self) -> None:
        """Write the end of the archive."""
        self._stream.write(b"\0" * 2 * BLOCK)


def header(name: str, size_bytes: int, mtime_s: int = 0) -> bytes:
    """Write the header of one file.

    Raises:
        ValueError: the name is too long for one.
    """
    if len(name.encode()) > NAME_LIMIT:
        raise ValueError(f"{name!r} is too long for a header")
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size_bytes, mtime_s, _MODE
    if size_bytes < _OCTAL_LIMIT:
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    # Larger than 8 GiB: the size as a binary number, which GNU's, BSD's and Python's tar all read.
    info.size = 0
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
    block[_SIZE] = b"\x80" + size_bytes.to_bytes(11, "big")
    block[_CHECKSUM] = b" " * 8
    block[_CHECKSUM] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


class TarReader:
    """Reads an archive, file after file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0
        self.name = ""
        self.size_bytes = 0

    def next(self) -> bool:
        """Go to the next file; False at the end of the archive.

        Raises:
            ArchiveError: anything else than an ordinary file comes, or the archive breaks off.
        """
        for _ in self.pieces():
            # The rest of a file that was not read to its end.
            pass
        self._exactly(self._padding)
        block = self._stream.read(BLOCK)
        if block == b"\0" * BLOCK:
            return False
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
            raise ArchiveError(
                f"The archive is damaged or breaks off after {self.name or 'nothing'}: no header of a file follows "
                f"({error}). Copy it again, or export it again."
            ) from error
        if info.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or not info.isreg() or info.linkname:
            raise ArchiveError(
                f"The archive holds {info.name!r}, which is no ordinary file (tar's type {info.type!r}). An exported "
                "project holds nothing else: this archive was not made by an export, or was changed since."
            )
        if info.name.startswith("/") or "\\" in info.name or {"", ".", ".."} & set(info.name.split("/")):
            raise ArchiveError(
                f"The archive holds the name {info.name!r}, which could lead out of a project. It is refused."
            )
        if info.size < 0:
            raise ArchiveError(f"The archive says that {info.name!r} has {info.size} bytes. It is refused.")
        self.name, self.size_bytes = info.name, info.size
        self._left, self._padding = info.size, -info.size % BLOCK
        return True

    def pieces(self) -> Iterator[bytes]:
        """Yield the rest of the file, piece by piece.

        Raises:
            ArchiveError: the archive breaks off.
        """
        while self._left:
            piece = self._stream.read(min(self._left, CHUNK_BYTES))
            if not piece:
                raise ArchiveError(
                    f"The archive breaks off in {self.name!r}, {self._left} bytes before the end of that file. "
                    "Copy it again, or export it again."
                )
            self._left -= len(piece)
            yield piece

    def _exactly(self, count: int) -> None:
        if count and len(self._stream.read(count)) != count:
            raise ArchiveError(f"The archive breaks off after {self.name!r}. Copy it again, or export it again.")
        self._padding = 0
