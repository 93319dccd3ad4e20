# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EXIF: texts of the tags that programs write parameters into. Pure; Pillow has read the tags.

ComfyUI's SaveAnimatedWEBP and nodes after it write `prompt:{...}` into Model, `workflow:{...}` into Make, and further
texts into the tags below it. A1111, Forge and SwarmUI write UserComment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from noslop_backend.media.tags.limits import Texts

#: Tags of the first IFD that hold text (Exif 3.0, 4.6.4 and 4.6.5; Windows' XP tags in UTF-16).
_NAMES = {
    0x010D: "DocumentName",
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x8298: "Copyright",
    0x9286: "UserComment",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9D: "XPAuthor",
    0x9C9E: "XPKeywords",
    0x9C9F: "XPSubject",
}
#: Descending from Make, ComfyUI uses a tag for each further text of `extra_pnginfo`.
_COMFYUI = range(0x0100, 0x0111)
_XP = range(0x9C9B, 0x9CA0)
_USER_COMMENT = 0x9286
_PREFIX = re.compile(r"([A-Za-z_][\w .-]{0,99}):\s*(?=[\[{\"])", re.ASCII)


def add(tags: Mapping[int, object], texts: Texts) -> None:
    """Collect the texts of one IFD, given as its values by tag."""
    for tag, value in tags.items():
        text = _text(tag, value)
        if text is None:
            continue
        prefix = _PREFIX.match(text) if tag in _COMFYUI else None
        if prefix:
            texts.add(prefix[1], text[prefix.end() :])
        elif tag in _NAMES:
            texts.add(_NAMES[tag], text)


def _text(tag: int, value: object) -> str | None:
    if tag == _USER_COMMENT and isinstance(value, bytes | str):
        return user_comment(value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape"))
    if tag in _XP and isinstance(value, bytes | tuple):
        return bytes(value).decode("utf-16-le", "replace")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        # Pillow reads ASCII tags as Latin-1; programs write UTF-8 into them.
        try:
            return value.encode("latin-1").decode("utf-8")
        except UnicodeError:
            return value
    return None


def user_comment(data: bytes) -> str:
    """Decode a UserComment: eight bytes that name the character set, then the text (Exif 3.0, table 9)."""
    code, body = data[:8], data[8:]
    if code == b"UNICODE\0":
        return _utf_16(body)
    if code == b"JIS\0\0\0\0\0":
        return body.decode("iso2022_jp", "replace")
    if code in {b"ASCII\0\0\0", b"\0" * 8}:
        return body.decode("utf-8", "replace")
    # Without the eight bytes, as some programs write it.
    return data.decode("utf-8", "replace")


def _utf_16(body: bytes) -> str:
    """Decode UTF-16 of either order: the standard leaves it to the file's, and programs do not keep to that."""
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return body.decode("utf-16", "replace")
    # The high byte of most letters is zero.
    is_little = body[1::2].count(0) > body[::2].count(0)
    return body.decode("utf-16-le" if is_little else "utf-16-be", "replace")
