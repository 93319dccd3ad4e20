# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Media files as programs write them, made by the libraries that those programs use: who writes what, and where.

The table drives the tests, and docs/formats.md shows it: `python tests/lint/format_docs.py` (make docs).
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
from PIL import Image, PngImagePlugin

#: Texts by key, as a program has them.
Tags = Mapping[str, str]
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
MAKE, MODEL, DESCRIPTION = 0x010F, 0x0110, 0x010E
SIZE = (24, 16)


@dataclass(frozen=True)
class Sample:
    """One way in which a program writes texts into a file."""

    #: Programs that do it, with the node or setting where there are several.
    writer: str
    #: What the file is.
    container: str
    #: Where in it the texts lie.
    place: str
    make: Callable[[Tags], bytes]
    content_type: str
    #: The key that `embedded` has for a text, given its own key; most keep theirs.
    key: Callable[[str], str] = lambda key: key
    #: Whether all texts of the program lie in one JSON text.
    is_joined: bool = False
    width: int | None = SIZE[0]
    frames: int | None = 1

    @property
    def name(self) -> str:
        """Return an id for a test."""
        return f"{self.container}, {self.place} ({self.writer})"


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pictures(count: int = 1) -> list[Image.Image]:
    """Return small pictures, each another one."""
    return [Image.new("RGB", SIZE, (number * 40, 90, 10)) for number in range(count)]


def saved(form: str, count: int = 1, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's options
    """Return pictures as Pillow saves them."""
    stream = io.BytesIO()
    first, *others = pictures(count)
    if others:
        options |= {"save_all": True, "append_images": others, "duration": 100}
    first.save(stream, form, **options)
    return stream.getvalue()


def png_text(tags: Tags) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in tags.items():
        info.add_text(key, text)
    return saved("PNG", pnginfo=info)


def png_packed(tags: Tags) -> bytes:
    info = PngImagePlugin.PngInfo()
    for number, (key, text) in enumerate(tags.items()):
        if number % 2:
            info.add_itxt(key, text, zip=True)
        else:
            info.add_text(key, text, zip=True)
    return saved("PNG", pnginfo=info)


def apng(tags: Tags) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in tags.items():
        # ComfyUI's json.dumps writes ASCII.
        info.add(b"comf", key.encode("latin-1") + b"\0" + text.encode(), after_idat=True)
    return saved("PNG", 3, pnginfo=info)


def exif_pairs(tags: Tags) -> Image.Exif:
    """Return EXIF as ComfyUI writes it: `prompt` into Model, the others from Make downwards."""
    exif = Image.Exif()
    others = [key for key in tags if key != "prompt"]
    for tag, key in [(MODEL, "prompt"), *zip(range(MAKE, 0, -1), others, strict=False)]:
        if key in tags:
            # As bytes, because Pillow writes no letter beyond ASCII from a text.
            exif[tag] = f"{key}:{tags[key]}".encode()
    return exif


def exif_comment(tags: Tags) -> Image.Exif:
    """Return EXIF as A1111 and SwarmUI write it, by piexif and ImageSharp: a UserComment in UTF-16."""
    exif = Image.Exif()
    (text,) = tags.values()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be")
    return exif


def xmp(tags: Tags) -> bytes:
    """Return a packet of XMP as editors write it."""
    (text,) = tags.values()
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt><rdf:li '
        f'xml:lang="x-default">{escaped}</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def gif_comment(tags: Tags) -> bytes:
    (text,) = tags.values()
    return saved("GIF", 3, comment=text.encode())


def gif_last_comment(tags: Tags) -> bytes:
    (text,) = tags.values()
    data = text.encode()
    blocks = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    return saved("GIF", 3).removesuffix(b";") + b"\x21\xfe" + blocks + b"\0;"


def jpeg_comment(tags: Tags) -> bytes:
    (text,) = tags.values()
    return saved("JPEG", comment=text.encode())


def webp(tags: Tags) -> bytes:
    return saved("WEBP", exif=exif_pairs(tags).tobytes())


@cache
def _encoded(container: str, codec: str, video: bool, tags: tuple[tuple[str, str], ...], options: str) -> bytes:
    stream = io.BytesIO()
    flags = dict(pair.split("=", 1) for pair in options.split()) if options else {}
    with av.open(stream, "w", format=container, options=flags) as output:
        output.metadata.update(tags)
        if video:
            track: Any = output.add_stream(codec, rate=8)
            track.width, track.height = SIZE
            track.pix_fmt = "yuv420p"
            frame: Any = av.VideoFrame(*SIZE, "yuv420p")
        else:
            track = output.add_stream(codec, rate=48_000)
            track.layout = "mono"
            frame = av.AudioFrame(format=track.codec_context.format.name, layout="mono", samples=1024)
            frame.sample_rate = 48_000
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
        for one in (frame, None):
            for packet in track.encode(one):
                output.mux(packet)
    return stream.getvalue()


def encoded(container: str, codec: str, *, video: bool = True, options: str = "") -> Callable[[Tags], bytes]:
    """Return what makes a file with tags, as FFmpeg and PyAV write them."""
    return lambda tags: _encoded(container, codec, video, tuple(tags.items()), options)


def commented(container: str, codec: str, *, video: bool = True, key: str = "comment") -> Callable[[Tags], bytes]:
    """Return what makes a file with all texts as JSON in one comment, as VideoHelperSuite does."""
    return lambda tags: _encoded(container, codec, video, ((key, json.dumps(dict(tags))),), "")


def id3_comments(tags: Tags) -> bytes:
    """Return an MP3 whose texts are COMM frames of ID3v2.4 with descriptions, as mutagen writes them."""
    bodies = [b"\3eng" + key.encode() + b"\0" + text.encode() for key, text in tags.items()]
    frames = b"".join(b"COMM" + _synchsafe(len(body)) + b"\0\0" + body for body in bodies)
    sound = _encoded("mp3", "libmp3lame", False, (), "write_xing=0 id3v2_version=0")
    return b"ID3\4\0\0" + _synchsafe(len(frames)) + frames + sound


def _synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def latent(tags: Tags) -> bytes:
    """Return a latent as ComfyUI's SaveLatent writes it, by safetensors."""
    header = {
        "latent_tensor": {"dtype": "F32", "shape": [1, 4, 1, 1], "data_offsets": [0, 16]},
        "__metadata__": dict(tags),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(16)


def _to(key: str) -> Callable[[str], str]:
    return lambda _: key


def _exif(form: str, count: int = 1) -> Callable[[Tags], bytes]:
    return lambda tags: saved(form, count, exif=exif_pairs(tags).tobytes())


def _comment(form: str) -> Callable[[Tags], bytes]:
    return lambda tags: saved(form, exif=exif_comment(tags).tobytes())


def _xmp(form: str) -> Callable[[Tags], bytes]:
    return lambda tags: saved(form, xmp=xmp(tags))


def _sound(
    writer: str,
    container: str,
    place: str,
    make: Callable[[Tags], bytes],
    content_type: str,
    **more: Any,  # noqa: ANN401
) -> Sample:
    return Sample(writer, container, place, make, content_type, **more, width=None, frames=None)


#: All texts of the program in one, below this key of `embedded`.
def _one(key: str) -> dict[str, Any]:
    return {"key": _to(key), "is_joined": True}


_MDTA = "movflags=use_metadata_tags"
_FRAGMENTED = f"{_MDTA}+frag_keyframe+empty_moov"
_VHS = "VideoHelperSuite"
_WEB_IMAGES = (("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("AVIF", "image/avif"))
SAMPLES: tuple[Sample, ...] = (
    Sample("ComfyUI SaveImage, A1111, Forge, SwarmUI, InvokeAI", "PNG", "tEXt, iTXt", png_text, "image/png"),
    Sample("ComfyUI nodes, ImageMagick", "PNG", "zTXt, packed iTXt", png_packed, "image/png"),
    Sample("ComfyUI SaveAnimatedPNG", "APNG", "comf", apng, "image/png", frames=3),
    Sample("cameras, editors", "PNG", "eXIf", _exif("PNG"), "image/png"),
    Sample("ComfyUI SaveAnimatedWEBP", "animated WEBP", "EXIF Make, Model", _exif("WEBP", 3), "image/webp", frames=3),
    *(
        Sample("ComfyUI nodes", name, "EXIF Make, Model", _exif(name), kind)
        for name, kind in (*_WEB_IMAGES, ("TIFF", "image/tiff"))
    ),
    *(
        Sample("A1111, Forge, SwarmUI", name, "EXIF UserComment", _comment(name), kind, **_one("UserComment"))
        for name, kind in _WEB_IMAGES
    ),
    *(Sample("editors, Draw Things", name, "XMP", _xmp(name), kind, **_one("xmp")) for name, kind in _WEB_IMAGES),
    Sample("A1111, editors", "GIF", "comment", gif_comment, "image/gif", **_one("comment"), frames=3),
    Sample("editors", "GIF", "comment after the pictures", gif_last_comment, "image/gif", **_one("comment"), frames=3),
    Sample("editors", "JPEG", "COM", jpeg_comment, "image/jpeg", **_one("comment")),
    Sample("ComfyUI SaveVideo", "MP4", "mdta", encoded("mp4", "mpeg4", options=_MDTA), "video/mp4"),
    Sample("ComfyUI nodes", "MOV", "mdta", encoded("mov", "mpeg4", options=_MDTA), "video/quicktime"),
    Sample("FFmpeg", "fragmented MP4", "mdta", encoded("mp4", "mpeg4", options=_FRAGMENTED), "video/mp4"),
    *(
        Sample(_VHS, name, place, commented(container, codec), kind, **_one("comment"))
        for name, place, container, codec, kind in (
            ("MP4", "©cmt", "mp4", "mpeg4", "video/mp4"),
            ("MOV", "©cmt", "mov", "mpeg4", "video/quicktime"),
            ("WebM", "tag COMMENT", "webm", "libvpx-vp9", "video/webm"),
            ("Matroska", "tag COMMENT", "matroska", "ffv1", "video/x-matroska"),
            ("AVI", "INFO ICMT", "avi", "mpeg4", "video/x-msvideo"),
        )
    ),
    Sample("ComfyUI SaveWEBM", "WebM", "tags", encoded("webm", "libvpx-vp9"), "video/webm"),
    Sample("FFmpeg", "Matroska", "tags", encoded("matroska", "mpeg4"), "video/x-matroska"),
    _sound("FFmpeg", "WebM, sound only", "tags", encoded("webm", "libopus", video=False), "audio/webm"),
    _sound("ComfyUI SaveAudio", "FLAC", "comments", encoded("flac", "flac", video=False), "audio/flac"),
    _sound("ComfyUI SaveAudioOpus", "Opus", "comments", encoded("ogg", "libopus", video=False), "audio/ogg"),
    _sound("FFmpeg", "FLAC in Ogg", "comments", encoded("ogg", "flac", video=False), "audio/ogg"),
    _sound("ComfyUI SaveAudioMP3", "MP3", "ID3v2.4 TXXX", encoded("mp3", "libmp3lame", video=False), "audio/mpeg"),
    _sound(
        *("FFmpeg", "MP3", "ID3v2.3 TXXX"),
        *(encoded("mp3", "libmp3lame", video=False, options="id3v2_version=3"), "audio/mpeg"),
    ),
    _sound("mutagen", "MP3", "ID3v2.4 COMM", id3_comments, "audio/mpeg"),
    _sound("FFmpeg", "M4A", "mdta", encoded("ipod", "aac", video=False, options=_MDTA), "audio/mp4"),
    _sound("FFmpeg", "M4A", "©cmt", commented("ipod", "aac", video=False), "audio/mp4", **_one("comment")),
    _sound("FFmpeg", "WAV", "INFO ICMT", commented("wav", "pcm_s16le", video=False), "audio/wav", **_one("comment")),
    _sound("ComfyUI SaveLatent", "latent, safetensors", "`__metadata__`", latent, "application/octet-stream"),
)
