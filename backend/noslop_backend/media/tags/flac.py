# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""FLAC: the block of Vorbis comments (RFC 9639, 8.6)."""

from __future__ import annotations

from typing import BinaryIO

from noslop_backend.media.tags import comments
from noslop_backend.media.tags.limits import LIMIT_BYTES, Items

_COMMENTS = 4


def read(stream: BinaryIO) -> dict[str, str]:
    """Give the comments by their names."""
    stream.seek(4)
    items = Items()
    while items.count_one() and len(header := stream.read(4)) == 4:
        size = int.from_bytes(header[1:], "big")
        if header[0] & 0x7F == _COMMENTS and size <= LIMIT_BYTES:
            return comments.parse(stream.read(size))
        if header[0] & 0x80:
            break
        stream.seek(size, 1)
    return {}
