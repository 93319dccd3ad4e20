# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise types by their signatures. Pure.

Sources: the formats' own documents, the registries of IANA (media types) and of mp4ra.org (brands).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from noslop_backend.media import texts
from noslop_backend.media.tracks import Track, doc_type, read_tracks
from noslop_backend.share.layout import EXTENSION_ALIASES, FileKind


@dataclass(frozen=True)
class MediaType:
    """Hold what a content is: its kind, its type on the Internet, and the extension that its path has."""

    kind: FileKind
    content_type: str
    extension: str


def _image(content_type: str, extension: str) -> MediaType:
    return MediaType(FileKind.IMAGE, f"image/{content_type}", extension)


def _video(content_type: str, extension: str) -> MediaType:
    return MediaType(FileKind.VIDEO, f"video/{content_type}", extension)


def _audio(content_type: str, extension: str) -> MediaType:
    return MediaType(FileKind.AUDIO, f"audio/{content_type}", extension)


def _other(content_type: str, extension: str) -> MediaType:
    return MediaType(FileKind.OTHER, content_type, extension)


_PNG, _JXL, _TIFF = _image("png", "png"), _image("jxl", "jxl"), _image("tiff", "tif")
_MP3, _AAC, _FLAC = _audio("mpeg", "mp3"), _audio("aac", "aac"), _audio("flac", "flac")
_MP4, _QUICKTIME, _M4A = _video("mp4", "mp4"), _video("quicktime", "mov"), _audio("mp4", "m4a")
_AVIF, _HEIC, _HEIF = _image("avif", "avif"), _image("heic", "heic"), _image("heif", "heif")
_HEIC_SEQUENCE, _HEIF_SEQUENCE = _image("heic-sequence", "heic"), _image("heif-sequence", "heif")
_MPEG, _MPEG_TS = _video("mpeg", "mpg"), _video("mp2t", "ts")
#: In this order: a longer signature comes before one that it begins with.
_STARTS: tuple[tuple[bytes, MediaType], ...] = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _image("jpeg", "jpg")),
    (b"GIF87a", _image("gif", "gif")),
    (b"GIF89a", _image("gif", "gif")),
    (b"\xff\x0a", _JXL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", _JXL),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _image("jp2", "jp2")),
    (b"II*\0\x10\0\0\0CR", _image("x-canon-cr2", "cr2")),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    # BigTIFF.
    (b"II+\0\x08\0\0\0", _TIFF),
    (b"MM\0+\0\x08\0\0", _TIFF),
    (b"IIRO", _image("x-olympus-orf", "orf")),
    (b"IIU\0", _image("x-panasonic-rw2", "rw2")),
    (b"\x76\x2f\x31\x01", _image("x-exr", "exr")),
    (b"#?RADIANCE\n", _image("vnd.radiance", "hdr")),
    (b"#?RGBE\n", _image("vnd.radiance", "hdr")),
    (b"qoif", _image("qoi", "qoi")),
    (b"DDS \x7c\0\0\0", _image("vnd.ms-dds", "dds")),
    (b"fLaC", _FLAC),
    (b"caff\0\1", _audio("x-caf", "caf")),
    (b"wvpk", _audio("x-wavpack", "wv")),
    (b"MThd\0\0\0\x06", _audio("midi", "mid")),
    (b"FLV\1", _video("x-flv", "flv")),
    (b"\0\0\1\xba", _MPEG),
    (b"\0\0\1\xb3", _MPEG),
    (b"8BPS\0\1", _other("image/vnd.adobe.photoshop", "psd")),
    (b"8BPS\0\2", _other("image/vnd.adobe.photoshop", "psb")),
    (b"gimp xcf ", _other("image/x-xcf", "xcf")),
    (b"glTF\2\0\0\0", _other("model/gltf-binary", "glb")),
    (b"glTF\1\0\0\0", _other("model/gltf-binary", "glb")),
    # Its header is text, and what follows may be none.
    (b"ply\nformat ", _other("model/ply", "ply")),
    (b"ply\r\nformat ", _other("model/ply", "ply")),
    (b"Kaydara FBX Binary  \0", _other("application/x-fbx", "fbx")),
    (b"PXR-USDC", _other("model/vnd.usd", "usdc")),
    *((mark, _other("application/x-blender", "blend")) for mark in (b"BLENDER-v", b"BLENDER_v", b"BLENDER17-01v")),
    (b"%PDF-", _other("application/pdf", "pdf")),
)
_RIFF = {b"WEBP": _image("webp", "webp"), b"WAVE": _audio("wav", "wav"), b"AVI ": _video("x-msvideo", "avi")}
_FORM = {b"AIFF": _audio("aiff", "aiff"), b"AIFC": _audio("aiff", "aiff")}
#: Brands of ISO base media files (ISO/IEC 14496-12), the major one first, then those that it is compatible with.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), _HEIC),
    **dict.fromkeys((b"hevc", b"hevx", b"hevm", b"hevs"), _HEIC_SEQUENCE),
    b"jxl ": _JXL,
    b"crx ": _image("x-canon-cr3", "cr3"),
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "), _M4A),
    b"qt  ": _QUICKTIME,
    **dict.fromkeys((b"M4V ", b"M4VH", b"M4VP", b"F4V ", b"F4P ", b"MSNV", b"dash", b"iso5", b"iso6"), _MP4),
    **dict.fromkeys((b"isom", b"iso2", b"iso4", b"mp41", b"mp42", b"avc1", b"av01", b"hvc1", b"XAVC"), _MP4),
}
#: What a file is that names only these, and no codec.
_STRUCTURAL = {b"mif1": _HEIF, b"mif2": _HEIF, b"miaf": _HEIF, b"msf1": _HEIF_SEQUENCE}
_ZIPPED = {
    b"image/openraster": _other("image/openraster", "ora"),
    b"application/x-krita": _other("application/x-krita", "kra"),
}
#: Sizes of the second header of a BMP.
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_TS_PACKET_BYTES = 188


def sniff(head: bytes) -> MediaType | None:
    """Return the type of a content by its first 4096 bytes; None for what has no signature.

    Tracks that the head does not show may make a container another type: see `types.refine`.
    """
    for start, media_type in _STARTS:
        if head.startswith(start):
            return media_type
    for offset, mark, recognise in _CONTAINERS:
        if head.startswith(mark, offset):
            return recognise(head)
    return _by_frames(head) or _text(head)


def _by_brand(head: bytes) -> MediaType:
    major = head[8:12]
    size = min(int.from_bytes(head[:4]), len(head))
    brands = [major, *(head[at : at + 4] for at in range(16, size - 3, 4))]
    if major in _STRUCTURAL:
        # A picture: which one, the compatible brands say.
        pictures = [_BRANDS[brand] for brand in brands if brand in _BRANDS and _BRANDS[brand].kind == FileKind.IMAGE]
        return pictures[0] if pictures else _STRUCTURAL[major]
    if major[:2] == b"3g":
        return _video("3gpp2", "3g2") if major[2:3] == b"2" else _video("3gpp", "3gp")
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), _MP4)


def _matroska(head: bytes) -> MediaType | None:
    return {b"webm": _video("webm", "webm"), b"matroska": _video("x-matroska", "mkv")}.get(doc_type(head))


def _bmp(head: bytes) -> MediaType | None:
    """Recognise a BMP by what its headers have beside two letters: reserved zeros, and a size that exists."""
    exists = head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return _image("bmp", "bmp") if exists else None


def _ogg(head: bytes) -> MediaType:
    if Track.VIDEO in read_tracks("video/ogg", lambda offset, size: head[offset : offset + size]):
        return _video("ogg", "ogv")
    return _audio("ogg", "opus") if b"OpusHead" in head[:64] else _audio("ogg", "ogg")


def _zip(head: bytes) -> MediaType | None:
    """Recognise documents whose first member says what they are, unpacked (OpenRaster, Krita)."""
    length, extra = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
    if head[30 : 30 + length] != b"mimetype":
        return None
    start = 30 + length + extra
    return next((each for name, each in _ZIPPED.items() if head.startswith(name, start)), None)


def _by_frames(head: bytes) -> MediaType | None:
    """Recognise what has no signature but frames of a fixed form."""
    if head[:3] == b"ID3" and len(head) > 10:
        return _behind_id3(head)
    if _is_mpeg_audio(head):
        return _MP3
    if _is_adts(head, 0):
        return _AAC
    # Packets of a transport stream (ISO/IEC 13818-1, 2.4.3.2), on discs with a time of four bytes before each.
    for offset, packet in ((0, _TS_PACKET_BYTES), (4, _TS_PACKET_BYTES + 4)):
        marks = head[offset::packet]
        if len(marks) > 2 and set(marks) == {0x47}:
            return _MPEG_TS
    return None


def _behind_id3(head: bytes) -> MediaType:
    """Return what a tag in front of it hides: its length is in the header (ID3v2.4, 3.1)."""
    size = 10 + sum((byte & 0x7F) << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
    if head[size : size + 4] == b"fLaC":
        return _FLAC
    return _AAC if _is_adts(head, size) else _MP3


def _is_mpeg_audio(head: bytes) -> bool:
    """Return whether this is a frame of layer II or III: a sync, and no value that is reserved (ISO/IEC 11172-3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, bitrate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer in {1, 2} and bitrate not in {0, 15} and rate != 3


def _is_adts(head: bytes, at: int) -> bool:
    """Return whether a frame of AAC begins here (ISO/IEC 13818-7, 6.2), and another one behind it."""
    frame = head[at : at + 7]
    if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0 or frame[2] >> 2 & 15 > 12:
        return False
    length = (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
    following = head[at + length : at + length + 2]
    return length >= 7 and (len(following) < 2 or (following[0] == 0xFF and following[1] & 0xF6 == 0xF0))


def _text(head: bytes) -> MediaType | None:
    recognised = texts.recognise(head)
    return _other(*recognised) if recognised else None


#: Where a mark stands, and what tells the types apart that have it.
_CONTAINERS: tuple[tuple[int, bytes, Callable[[bytes], MediaType | None]], ...] = (
    *((0, mark, lambda head: _RIFF.get(head[8:12])) for mark in (b"RIFF", b"RF64", b"BW64")),
    (0, b"FORM", lambda head: _FORM.get(head[8:12])),
    (4, b"ftyp", _by_brand),
    # QuickTime files of before `ftyp`.
    *((4, mark, lambda _head: _QUICKTIME) for mark in (b"moov", b"mdat", b"wide")),
    (0, b"\x1a\x45\xdf\xa3", _matroska),
    (0, b"OggS", _ogg),
    (0, b"PK\3\4", _zip),
    (0, b"BM", _bmp),
)
#: Extensions of names whose content has a signature: a content without it is not what its name says.
SIGNED_EXTENSIONS = frozenset(
    extension
    for media_type in (*(each for _, each in _STARTS), *_RIFF.values(), *_FORM.values(), *_BRANDS.values(), _HEIF, _MP3)
    if media_type.kind != FileKind.OTHER
    for extension in (media_type.extension, *EXTENSION_ALIASES.get(media_type.extension, ()))
) | {"bmp", "webm", "mkv", "mka", "ogg", "ogv", "opus", "aac", "psd", "glb"}
