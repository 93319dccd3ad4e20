# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ogg: the second packet of Opus (RFC 7845, 5.2) and Vorbis has the comments; pages as in RFC 3533."""

from __future__ import annotations

from typing import BinaryIO

from noslop_backend.media.tags import comments
from noslop_backend.media.tags.limits import LIMIT_BYTES, Items

_STARTS = (b"OpusTags", b"\x03vorbis")


def read(stream: BinaryIO) -> dict[str, str]:
    """Give the comments by their names."""
    stream.seek(0)
    packet = bytearray()
    packets = 0
    items = Items()
    while len(header := stream.read(27)) == 27 and header[:4] == b"OggS" and len(packet) <= LIMIT_BYTES:
        if not items.count_one():
            break
        for size in stream.read(header[26]):
            packet += stream.read(size)
            if size == 255:
                continue
            packets += 1
            for start in _STARTS:
                if packet.startswith(start):
                    return comments.parse(bytes(packet[len(start) :]))
            # Streams lie side by side: the comments of one are among the first packets of all.
            if packets > 8:
                return {}
            packet.clear()
    return {}
