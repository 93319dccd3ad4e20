# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Vorbis comments, which FLAC and Ogg share (https://xiph.org/vorbis/doc/v-comment.html)."""

from __future__ import annotations

from noslop_backend.media.tags.limits import ITEMS_LIMIT


def parse(data: bytes) -> dict[str, str]:
    """Give the comments by their names, in small letters: names have no case."""
    texts: dict[str, str] = {}
    at = 4 + int.from_bytes(data[:4], "little")
    count = int.from_bytes(data[at : at + 4], "little")
    at += 4
    for _ in range(min(count, ITEMS_LIMIT)):
        size = int.from_bytes(data[at : at + 4], "little")
        comment = data[at + 4 : at + 4 + size]
        if at + 4 > len(data) or len(comment) < size:
            break
        name, found, text = comment.decode("utf-8", "replace").partition("=")
        if found:
            texts[name.lower()] = text
        at += 4 + size
    return texts
