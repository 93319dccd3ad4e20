# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out the type of a file by its content: a name is what a user hoped, the first bytes are what it is. Pure.

The tables are our own. Libraries that guess types answer one of several candidates by the first bytes alone: they take
an audio-only mp4 or WebM for video and most HEIF brands for mp4, and none knows where a project keeps a type. The ones
that do better (libmagic, Magika) bring a parser in C or a model into the process that holds the database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace

from noslop_backend.core.errors import UnsupportedMediaError
from noslop_backend.media.probe.formats import WITHOUT_VIDEO
from noslop_backend.media.signatures import SIGNED_EXTENSIONS, MediaType, sniff
from noslop_backend.media.texts import is_text, text_type
from noslop_backend.media.tracks import ReadAt, Track, read_tracks
from noslop_backend.share.layout import FileKind

__all__ = ["HEAD_BYTES", "MediaType", "ReadAt", "TypeOf", "generated", "intermediate", "refine", "sniff"]

#: So many bytes of the beginning are enough for `sniff`.
HEAD_BYTES = 4096
_BYTES = "application/octet-stream"
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,12})$", re.ASCII)
#: Extensions of containers that hold sound and no picture.
_EXTENSIONS = {
    "audio/mp4": "m4a",
    "video/quicktime": "mov",
    "audio/3gpp": "3gp",
    "audio/webm": "webm",
    "audio/x-matroska": "mka",
    "audio/ogg": "ogg",
}
#: The type of a container that holds sound and no picture. Its tracks decide, since brand and document type do not.
_AUDIO_ONLY = {
    container: MediaType(FileKind.AUDIO, content_type, _EXTENSIONS[content_type])
    for container, content_type in WITHOUT_VIDEO.items()
}
#: And what an Ogg is whose first stream did not show that it holds pictures.
_WITH_PICTURES = {"audio/ogg": MediaType(FileKind.VIDEO, "video/ogg", "ogv")}
_UNKNOWN = (
    "The content is of no type that is recognised here: images (PNG, JPEG, WebP, GIF, AVIF, HEIF, JPEG XL, TIFF, EXR, "
    "BMP and others), videos (MP4, MOV, WebM, Matroska, AVI, Ogg, MPEG), audio (WAV, FLAC, MP3, M4A, AAC, AIFF, Ogg, "
    "Opus). To keep it all the same, name it with its extension (name=scene.blend) or send kind=other."
)


def refine(media_type: MediaType, tracks: Collection[str]) -> MediaType:
    """Return what a container is by its tracks (`video`, `audio`): without a picture it is audio.

    Anything that knows the tracks of a file may ask: `tracks.read_tracks`, and the confined child that decodes. No
    tracks mean that nothing is known of them, and change nothing.
    """
    if Track.VIDEO in tracks:
        return _WITH_PICTURES.get(media_type.content_type, media_type)
    if Track.AUDIO in tracks:
        return _AUDIO_ONLY.get(media_type.content_type, media_type)
    return media_type


def generated(kind: FileKind | None, name: str, head: bytes, read_at: ReadAt) -> MediaType:
    """Return the type of generated media.

    Without a kind the content decides. What is of no recognised type is kept as `other` when its name has an extension
    that no recognised type has: a `picture.png` that is none is a mistake.

    Args:
        kind: as the caller named it; `other` takes any content.
        name: as the user typed it.
        head: the first `HEAD_BYTES` bytes.
        read_at: reads more, where the tracks of a container decide.

    Raises:
        UnsupportedMediaError: no type that a project has a place for, or another kind than was named.
    """
    if not head:
        raise UnsupportedMediaError("The content is empty. Nothing was kept: send the file as the body.")
    recognised = sniff(head)
    if recognised is not None and recognised.content_type in _AUDIO_ONLY | _WITH_PICTURES:
        recognised = refine(recognised, read_tracks(recognised.content_type, read_at))
    if kind == FileKind.OTHER:
        return replace(recognised, kind=kind) if recognised else _other(name, head)
    if recognised is None and kind is None:
        extension = _extension(name)
        if extension in SIGNED_EXTENSIONS:
            raise UnsupportedMediaError(
                f"The name ends in .{extension}, and the content is of no such type: it may be cut off, or an error "
                "page. To keep it all the same send kind=other."
            )
        recognised = _other(name, head) if extension else None
    if recognised is None:
        raise UnsupportedMediaError(_UNKNOWN)
    if kind is not None and recognised.kind != kind:
        raise UnsupportedMediaError(
            f"The content is {recognised.content_type}, which is {recognised.kind} and not {kind}. Name no kind, or "
            f"that one."
        )
    return recognised


def intermediate(name: str, kind: FileKind, head: bytes) -> MediaType:
    """Return the type of an intermediate: what the content says, else the extension of its name, else just bytes."""
    recognised = sniff(head)
    return replace(recognised, kind=kind) if recognised else MediaType(kind, _BYTES, _extension(name) or "bin")


def _other(name: str, head: bytes) -> MediaType:
    extension = _extension(name)
    if is_text(head):
        return MediaType(FileKind.OTHER, text_type(extension), extension or "txt")
    return MediaType(FileKind.OTHER, _BYTES, extension or "bin")


def _extension(name: str) -> str:
    match = _EXTENSION.search(name)
    return match[1].lower() if match else ""


#: Decides the type of a file that comes in, by its first bytes and whatever else it reads of it.
TypeOf = Callable[[bytes, ReadAt], MediaType]
