# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MP4 and QuickTime: the tags in moov/udta/meta, whose names are in `keys` and whose values are in `ilst`.

ISO/IEC 14496-12 for boxes; "Metadata" of the QuickTime File Format Specification for keys and items.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from noslop_backend.media.tags.limits import LIMIT_BYTES, Items

_Box = tuple[bytes, int, int]


def read(stream: BinaryIO) -> dict[str, str]:
    """Give the tags by their names."""
    end = stream.seek(0, os.SEEK_END)
    texts: dict[str, str] = {}
    items = Items()
    for moov in _named(stream, items, 0, end, b"moov"):
        places = [moov, *_named(stream, items, *moov, b"udta")]
        for place in places:
            for start, stop in _named(stream, items, *place, b"meta"):
                texts |= _tags(stream, items, _after_version(stream, start), stop)
    return texts


def _boxes(stream: BinaryIO, items: Items, start: int, end: int) -> Iterator[_Box]:
    """Boxes one after another: type, and where their content begins and ends."""
    at = start
    while at + 8 <= end and items.count_one():
        stream.seek(at)
        header = stream.read(16)
        size, kind, begins = int.from_bytes(header[:4], "big"), header[4:8], at + 8
        if size == 1:
            size, begins = int.from_bytes(header[8:16], "big"), at + 16
        elif size == 0:
            size = end - at
        if begins > at + size or at + size > end:
            return
        yield kind, begins, at + size
        at += size


def _named(stream: BinaryIO, items: Items, start: int, end: int, kind: bytes) -> list[tuple[int, int]]:
    return [(begins, stops) for found, begins, stops in _boxes(stream, items, start, end) if found == kind]


def _after_version(stream: BinaryIO, start: int) -> int:
    """Where the boxes in `meta` begin: MP4 has a version before them, QuickTime has none."""
    stream.seek(start)
    return start if stream.read(8)[4:8] == b"hdlr" else start + 4


def _tags(stream: BinaryIO, items: Items, start: int, end: int) -> dict[str, str]:
    names: list[str] = []
    texts: dict[str, str] = {}
    left = LIMIT_BYTES
    for kind, begins, stops in _boxes(stream, items, start, end):
        if kind == b"keys" and stops - begins <= LIMIT_BYTES:
            stream.seek(begins)
            names = _keys(stream.read(stops - begins), items)
        elif kind == b"ilst":
            for item, item_begins, item_stops in _boxes(stream, items, begins, stops):
                number = int.from_bytes(item, "big") - 1
                for data_begins, data_stops in _named(stream, items, item_begins, item_stops, b"data"):
                    size = data_stops - data_begins - 8
                    if not 0 <= number < len(names) or not 0 <= size <= left:
                        continue
                    # Eight bytes say type and language; what is no text is of no interest here.
                    stream.seek(data_begins + 8)
                    texts[names[number]] = stream.read(size).decode("utf-8", "replace")
                    left -= size
    return texts


def _keys(data: bytes, items: Items) -> list[str]:
    names: list[str] = []
    at = 8
    while at + 8 <= len(data) and items.count_one():
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8:
            break
        names.append(data[at + 8 : at + size].decode("utf-8", "replace"))
        at += size
    return names
