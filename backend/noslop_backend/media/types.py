# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of files by their content. A name says what somebody hoped, the first bytes say what it is. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from noslop_backend.share.layout import FileKind

#: So many bytes of the beginning are enough for `sniff`.
HEAD_BYTES = 4096
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,12})$", re.ASCII)


@dataclass(frozen=True)
class MediaType:
    """What a content is."""

    kind: FileKind
    content_type: str
    extension: str


_PNG = MediaType(FileKind.IMAGE, "image/png", "png")
_WEBP = MediaType(FileKind.IMAGE, "image/webp", "webp")
_MP4 = MediaType(FileKind.VIDEO, "video/mp4", "mp4")
_M4A = MediaType(FileKind.AUDIO, "audio/mp4", "m4a")
_MP3 = MediaType(FileKind.AUDIO, "audio/mpeg", "mp3")
_WEBM = MediaType(FileKind.VIDEO, "video/webm", "webm")
_MATROSKA = MediaType(FileKind.VIDEO, "video/x-matroska", "mkv")
_STARTS: tuple[tuple[bytes, MediaType], ...] = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", MediaType(FileKind.IMAGE, "image/jpeg", "jpg")),
    (b"GIF87a", MediaType(FileKind.IMAGE, "image/gif", "gif")),
    (b"GIF89a", MediaType(FileKind.IMAGE, "image/gif", "gif")),
    (b"II*\0", MediaType(FileKind.IMAGE, "image/tiff", "tif")),
    (b"MM\0*", MediaType(FileKind.IMAGE, "image/tiff", "tif")),
    (b"\x76\x2f\x31\x01", MediaType(FileKind.IMAGE, "image/x-exr", "exr")),
    (b"fLaC", MediaType(FileKind.AUDIO, "audio/flac", "flac")),
    (b"ID3", _MP3),
)
_RIFF = {
    b"WEBP": _WEBP,
    b"WAVE": MediaType(FileKind.AUDIO, "audio/wav", "wav"),
    b"AVI ": MediaType(FileKind.VIDEO, "video/x-msvideo", "avi"),
}
#: Major brands of ISO base media files (ISO/IEC 14496-12) that are no video.
_BRANDS = {
    b"avif": MediaType(FileKind.IMAGE, "image/avif", "avif"),
    b"avis": MediaType(FileKind.IMAGE, "image/avif", "avif"),
    b"heic": MediaType(FileKind.IMAGE, "image/heic", "heic"),
    b"heix": MediaType(FileKind.IMAGE, "image/heic", "heic"),
    b"mif1": MediaType(FileKind.IMAGE, "image/heif", "heif"),
    b"M4A ": _M4A,
    b"M4B ": _M4A,
    b"qt  ": MediaType(FileKind.VIDEO, "video/quicktime", "mov"),
}


def sniff(head: bytes) -> MediaType | None:
    """Tell the type of a content from its first bytes; None for what is no media."""
    for start, found in _STARTS:
        if head.startswith(start):
            return found
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], _MP4)
    return _walked(head)


def _walked(head: bytes) -> MediaType | None:
    if head[:4] == b"\x1a\x45\xdf\xa3":
        # The EBML header names its document type (RFC 8794, 11.2.6).
        return _WEBM if b"webm" in head[:64] else _MATROSKA
    if head[:4] == b"OggS":
        return _ogg(head)
    # An MPEG audio frame: eleven set bits, then a version and a layer that exist (ISO/IEC 11172-3, 2.4.2.3).
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 8 and head[1] & 6 == 2:
        return _MP3
    return None


def _ogg(head: bytes) -> MediaType:
    if b"OpusHead" in head[:64]:
        return MediaType(FileKind.AUDIO, "audio/ogg", "opus")
    if b"theora" in head[:64]:
        return MediaType(FileKind.VIDEO, "video/ogg", "ogv")
    return MediaType(FileKind.AUDIO, "audio/ogg", "ogg")


def intermediate(name: str, kind: FileKind, head: bytes) -> MediaType:
    """Type of an intermediate: what the content says, else the extension of its name, else just bytes."""
    found = sniff(head)
    if found is not None:
        return MediaType(kind, found.content_type, found.extension)
    extension = _EXTENSION.search(name)
    return MediaType(kind, "application/octet-stream", extension[1].lower() if extension else "bin")
