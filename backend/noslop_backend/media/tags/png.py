# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PNG: text in tEXt, zTXt and iTXt chunks, in APNG's `comf` chunks of ComfyUI, and the eXIf chunk.

Pillow stops at the first text that unpacks to too much, and does not read chunks of other programs, so the chunks are
walked here (https://www.w3.org/TR/png-3/, 5.3 and 11.3.3).
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

from noslop_backend.media.tags.limits import LIMIT_BYTES, Budget, Texts

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: `comf` is what ComfyUI's SaveAnimatedPNG writes: a keyword, a zero and a text, as in tEXt.
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})
#: Chunks that hold texts, or pictures that `plain_size` does not count.
_NOT_PLAIN = _TEXTS | {b"eXIf", b"acTL"}
#: So many chunks are walked before the child is asked to.
_PLAIN_CHUNKS_LIMIT = 4096


def plain_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG that embeds no text and is not animated.

    Reads the headers of the chunks and nothing else; the walk ends after 4096 of them.

    Returns:
        None where the file may embed something, is damaged, or has more chunks.
    """
    stream.seek(0)
    head = stream.read(24)
    if len(head) < 24 or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        return None
    at = 8
    for _ in range(_PLAIN_CHUNKS_LIMIT):
        stream.seek(at)
        header = stream.read(8)
        if len(header) < 8 or header[4:] in _NOT_PLAIN:
            return None
        if header[4:] == b"IEND":
            return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        at += 12 + int.from_bytes(header[:4], "big")
    return None


def read(stream: BinaryIO, texts: Texts, budget: Budget) -> bytes:
    """Collect the texts of a PNG.

    Returns:
        The content of its eXIf chunk, or nothing.

    Raises:
        BudgetExceededError: it has too many chunks.
    """
    exif = b""
    stream.seek(8)
    while len(header := stream.read(8)) == 8:
        budget.count_item()
        length, name = int.from_bytes(header[:4], "big"), header[4:]
        if name == b"IEND":
            break
        if name not in _TEXTS and name != b"eXIf":
            stream.seek(length + 4, 1)
        elif length > LIMIT_BYTES:
            texts.drop(_keyword(stream.read(80)), length, f"at most {LIMIT_BYTES // 1024**2} MiB of text are read")
            stream.seek(length + 4 - min(80, length), 1)
        else:
            data = stream.read(length)
            stream.seek(4, 1)
            if name == b"eXIf":
                exif = data
            else:
                _add(name, data, texts)
    return exif


def _keyword(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("latin-1")


def _add(name: bytes, data: bytes, texts: Texts) -> None:
    _, _, rest = data.partition(b"\0")
    key = _keyword(data)
    if name in {b"tEXt", b"comf"}:
        texts.add(key, _decode(rest))
        return
    packed, body = True, rest[1:]
    if name == b"iTXt":
        packed = rest[:1] == b"\1"
        _language, _, rest = rest[2:].partition(b"\0")
        _translated, _, body = rest.partition(b"\0")
    plain = _inflate(body, texts.bytes_left) if packed else body
    if plain is None:
        texts.drop(key, len(data), f"it is damaged, or unpacks to more than {texts.bytes_left} bytes")
    else:
        texts.add(key, plain.decode("utf-8", "replace") if name == b"iTXt" else _decode(plain))


def _decode(data: bytes) -> str:
    """Decode a text that is Latin-1 by the standard, and UTF-8 by what many programs write."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _inflate(data: bytes, limit: int) -> bytes | None:
    """Unpack at most `limit` bytes: a small chunk may claim to hold gigabytes."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, max(1, limit))
    except zlib.error:
        return None
    return plain if unpacker.eof else None
