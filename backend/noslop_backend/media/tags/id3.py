# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MP3: the TXXX frames of ID3v2 (https://id3.org/id3v2.4.0-structure, https://id3.org/id3v2.3.0)."""

from __future__ import annotations

from typing import BinaryIO

from noslop_backend.media.tags.limits import LIMIT_BYTES, Items

_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")


def read(stream: BinaryIO) -> dict[str, str]:
    """Give the texts by their descriptions."""
    stream.seek(0)
    header = stream.read(10)
    if len(header) < 10 or header[:3] != b"ID3" or header[3] not in {3, 4}:
        return {}
    size = _synchsafe(header[6:10])
    if size > LIMIT_BYTES:
        return {}
    data = stream.read(size)
    if header[5] & 0x80:
        data = data.replace(b"\xff\0", b"\xff")
    texts: dict[str, str] = {}
    at = 0
    if header[5] & 0x40:
        at = _synchsafe(data[:4]) if header[3] == 4 else 4 + int.from_bytes(data[:4], "big")
    items = Items()
    while at + 10 <= len(data) and data[at] and items.count_one():
        field = data[at + 4 : at + 8]
        length = _synchsafe(field) if header[3] == 4 else int.from_bytes(field, "big")
        body = data[at + 10 : at + 10 + length]
        if data[at : at + 4] == b"TXXX" and body and body[0] < len(_ENCODINGS):
            name, _, text = body[1:].decode(_ENCODINGS[body[0]], "replace").partition("\0")
            texts[name] = text.rstrip("\0").removeprefix("\ufeff")
        at += 10 + length
    return texts


def _synchsafe(field: bytes) -> int:
    """Read four bytes of seven bits each."""
    number = 0
    for byte in field:
        number = number << 7 | byte & 0x7F
    return number
