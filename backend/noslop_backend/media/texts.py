# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise texts: those that say what they are, and plain ones, whose name says it. Pure."""

from __future__ import annotations

import codecs
import re

#: Registered types of texts by their extension (IANA). All others are plain text: none of them may run in a browser.
_TEXTS = {
    "gltf": "model/gltf+json",
    "json": "application/json",
    "mtl": "model/mtl",
    "obj": "model/obj",
    "stl": "model/stl",
    "step": "model/step",
    "stp": "model/step",
}
_PLAIN = "text/plain; charset=utf-8"
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
#: A prolog, comments and a document type may come before the element (XML 1.0, 2.8).
_SVG = re.compile(
    r"\s*(?:<\?xml[^>]*\?>\s*|<!--.*?-->\s*|<!DOCTYPE[^>\[]*(?:\[[^\]]*\])?[^>]*>\s*)*<(?:svg:)?svg[\s>]", re.S
)
#: The number of a caption, and when it is shown.
_SUBRIP = re.compile(r"\s*\d{1,6}[ \t]*\r?\n\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->[ \t]*\d{1,3}:\d\d:\d\d[,.]\d{1,3}")
_STL = re.compile(r"solid\b[^\n]*\n\s*facet\s+normal\s")


def decode(head: bytes) -> str | None:
    """Return the beginning of a text (UTF-8, or UTF-16 with a byte order mark), or None for what is no text."""
    bom, encoding = next(((bom, name) for bom, name in _BOMS if head.startswith(bom)), (b"", "utf-8"))
    try:
        # Incremental: the end of the head may lie within a character.
        text = codecs.getincrementaldecoder(encoding)().decode(head[len(bom) :])
    except UnicodeDecodeError:
        return None
    return None if not text.strip() or _CONTROLS.search(text) else text


def is_text(head: bytes) -> bool:
    """Return whether a content is text, as far as its beginning shows."""
    return decode(head) is not None


def text_type(extension: str) -> str:
    """Return the content type of a plain text by the extension of its name."""
    return _TEXTS.get(extension, _PLAIN)


def recognise(head: bytes) -> tuple[str, str] | None:
    """Return content type and extension of a text that says what it is."""
    text = decode(head)
    if text is None:
        return None
    for start, content_type, extension in (
        ("WEBVTT", "text/vtt", "vtt"),
        ("[Script Info]", "text/x-ssa", "ass"),
        ("ply\n", "model/ply", "ply"),
        ("ply\r\n", "model/ply", "ply"),
        ("; FBX ", "application/x-fbx", "fbx"),
        ("#usda ", "model/vnd.usda", "usda"),
        ("%PDF-", "application/pdf", "pdf"),
        ("%!PS", "application/postscript", "ps"),
    ):
        if text.startswith(start):
            return content_type, extension
    if _SVG.match(text):
        return "image/svg+xml", "svg"
    if _SUBRIP.match(text):
        return "application/x-subrip", "srt"
    return ("model/stl", "stl") if _STL.match(text) else None
