# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GIF: comment extensions, wherever they stand (https://www.w3.org/Graphics/GIF/spec-gif89a.txt, 24).

Pillow drops the comments after the last picture, and counts pictures by composing them, so the blocks are walked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from noslop_backend.media.tags.limits import LIMIT_BYTES, Budget, Texts

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL, _COMMENT = 0xF9, 0xFE


@dataclass
class GifSize:
    """What the blocks of a GIF say: pixels, pictures, and seconds that they are shown for."""

    width: int
    height: int
    frames: int = 0
    duration_s: float = 0.0


def read(stream: BinaryIO, texts: Texts, budget: Budget) -> GifSize:
    """Collect the comments of a GIF, and count its pictures without decoding them.

    Raises:
        BudgetExceededError: it has too many blocks.
    """
    stream.seek(0)
    head = stream.read(13)
    size = GifSize(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    _skip_colors(stream, head[10:11])
    while mark := stream.read(1):
        budget.count_item()
        if mark[0] == _EXTENSION:
            _read_extension(stream, size, texts, budget)
        elif mark[0] == _IMAGE:
            size.frames += 1
            _skip_colors(stream, stream.read(9)[8:9])
            stream.seek(1, 1)
            _read_blocks(stream, budget, 0)
        else:
            break
    return size


def _skip_colors(stream: BinaryIO, packed: bytes) -> None:
    if packed and packed[0] & 0x80:
        stream.seek(3 << (packed[0] & 7) + 1, 1)


def _read_extension(stream: BinaryIO, size: GifSize, texts: Texts, budget: Budget) -> None:
    label = stream.read(1)
    wanted = {bytes([_COMMENT]): LIMIT_BYTES, bytes([_CONTROL]): 4}.get(label, 0)
    data, length = _read_blocks(stream, budget, wanted)
    if label == bytes([_CONTROL]):
        size.duration_s += int.from_bytes(data[1:3], "little") / 100
    elif label == bytes([_COMMENT]):
        if length > LIMIT_BYTES:
            texts.drop("comment", length, f"at most {LIMIT_BYTES // 1024**2} MiB of text are read")
        else:
            # ASCII by the standard, UTF-8 by what programs write.
            texts.add("comment", data.decode("utf-8", "replace"))


def _read_blocks(stream: BinaryIO, budget: Budget, keep_bytes: int) -> tuple[bytes, int]:
    """Walk over sub-blocks. Return the first `keep_bytes` of their content, and the length of all of it."""
    kept = bytearray()
    length = 0
    while (size := stream.read(1)) and size[0]:
        # A picture of some megabytes has tens of thousands of blocks: bytes are counted, not items.
        budget.count_bytes(0)
        if len(kept) < keep_bytes:
            kept += stream.read(size[0])[: keep_bytes - len(kept)]
        else:
            stream.seek(size[0], 1)
        length += size[0]
    return bytes(kept), length
