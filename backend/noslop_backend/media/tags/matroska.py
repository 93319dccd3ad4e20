# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Matroska and WebM: SimpleTags (RFC 9559, 5.1.8), in EBML (RFC 8794)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from noslop_backend.media.tags.limits import LIMIT_BYTES, Items

_SEGMENT, _TAGS, _TAG, _SIMPLE, _NAME, _STRING = 0x18538067, 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487


def read(stream: BinaryIO) -> dict[str, str]:
    """Give the tags by their names, in small letters: muxers write capitals."""
    end = stream.seek(0, os.SEEK_END)
    texts: dict[str, str] = {}
    items = Items()
    left = LIMIT_BYTES
    for tags in (
        place for segment in _of(stream, items, 0, end, _SEGMENT) for place in _of(stream, items, *segment, _TAGS)
    ):
        for tag in _of(stream, items, *tags, _TAG):
            for simple in _of(stream, items, *tag, _SIMPLE):
                parts = dict[int, bytes]()
                for kind, begins, stops in _elements(stream, items, *simple):
                    if kind in {_NAME, _STRING} and stops - begins <= left:
                        stream.seek(begins)
                        parts[kind] = stream.read(stops - begins)
                        left -= stops - begins
                if len(parts) == 2:
                    texts[parts[_NAME].decode("utf-8", "replace").lower()] = parts[_STRING].decode("utf-8", "replace")
    return texts


def _of(stream: BinaryIO, items: Items, start: int, end: int, kind: int) -> list[tuple[int, int]]:
    return [(begins, stops) for found, begins, stops in _elements(stream, items, start, end) if found == kind]


def _elements(stream: BinaryIO, items: Items, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Elements one after another: id, and where their content begins and ends."""
    at = start
    while at < end and items.count_one():
        stream.seek(at)
        header = stream.read(12)
        length = _length(header[:1])
        if not length or length > 4:
            return
        kind = int.from_bytes(header[:length], "big")
        size_length = _length(header[length : length + 1])
        field = header[length : length + size_length]
        if not size_length or len(field) < size_length:
            return
        size = int.from_bytes(field, "big") & ((1 << 7 * size_length) - 1)
        begins = at + length + size_length
        if size == (1 << 7 * size_length) - 1:
            # Of unknown size: only what is being streamed has that, and it goes on to the end.
            size = end - begins
        if begins + size > end:
            return
        yield kind, begins, begins + size
        at = begins + size


def _length(first: bytes) -> int:
    """Length of a variable-size integer by its first byte; 0 for none."""
    return 9 - first[0].bit_length() if first and first[0] else 0
