# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create images in one colour and encode them as PNG."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Image:
    """An image whose every pixel is `color` (0xRRGGBB)."""

    width: int
    height: int
    color: int

    def png(self, text: dict[str, str]) -> bytes:
        """Return the image as a PNG file with text chunks (keyword to Latin-1 text)."""
        row = b"\0" + self.color.to_bytes(3, "big") * self.width
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = [chunk(b"IHDR", header)]
        chunks += [chunk(b"tEXt", key.encode() + b"\0" + value.encode("latin-1")) for key, value in text.items()]
        chunks += [chunk(b"IDAT", zlib.compress(row * self.height)), chunk(b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one PNG chunk with length, kind, data and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
