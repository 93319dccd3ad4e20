# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PNG: tEXt, zTXt and iTXt chunks."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from noslop_backend.media.tags.limits import LIMIT_BYTES, Items


def read(stream: BinaryIO) -> dict[str, str]:
    """tEXt, zTXt and iTXt chunks (https://www.w3.org/TR/png-3/, 11.3.3)."""
    texts: dict[str, str] = {}
    left = LIMIT_BYTES
    stream.seek(8)
    items = Items()
    while items.count_one():
        header = stream.read(8)
        if len(header) < 8:
            break
        length, name = int.from_bytes(header[:4], "big"), header[4:]
        if name == b"IEND" or length > 2**31:
            break
        if name not in {b"tEXt", b"zTXt", b"iTXt"} or length > left:
            stream.seek(length + 4, 1)
            continue
        data = stream.read(length)
        stream.seek(4, 1)
        if (entry := _png_text(name, data, left)) is not None:
            texts[entry[0]] = entry[1]
            left -= len(entry[1])
    return texts


def _png_text(name: bytes, data: bytes, limit: int) -> tuple[str, str] | None:
    keyword, _, rest = data.partition(b"\0")
    key = keyword.decode("latin-1")
    if name == b"tEXt":
        # Latin-1 by the standard, UTF-8 by what many programs write.
        return key, _decode(rest)
    if name == b"zTXt":
        text = _inflate(rest[1:], limit)
        return None if text is None else (key, _decode(text))
    compressed = rest[:1] == b"\1"
    _language, _, rest = rest[2:].partition(b"\0")
    _translated, _, body = rest.partition(b"\0")
    plain = _inflate(body, limit) if compressed else body
    return None if plain is None else (key, plain.decode("utf-8", "replace"))


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _inflate(data: bytes, limit: int) -> bytes | None:
    """Unpack at most `limit` bytes: a small chunk may claim to hold gigabytes."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, limit)
    except zlib.error:
        return None
    return plain if unpacker.eof else None
