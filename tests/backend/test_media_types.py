# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which type a content has, by its first bytes, its tracks and, where it says nothing, its name."""

from __future__ import annotations

import io
import wave
import zipfile
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.core.errors import UnsupportedMediaError
from noslop_backend.media import tracks
from noslop_backend.media.tracks import STEPS_LIMIT, ReadAt, Track, read_tracks
from noslop_backend.media.types import HEAD_BYTES, MediaType, generated, intermediate, refine, sniff
from noslop_backend.share.layout import FileKind
from PIL import Image

from tests.backend.studio import png

REST = b"x" * 40


def reader(content: bytes) -> ReadAt:
    """Read from bytes."""
    return lambda offset, size: content[offset : offset + size]


def type_of(content: bytes, name: str = "x", kind: FileKind | None = None) -> MediaType:
    """Decide the type of a whole content, as an upload does."""
    return generated(kind, name, content[:HEAD_BYTES], reader(content))


def shown(media_type: MediaType) -> str:
    return f"{media_type.kind} {media_type.content_type} {media_type.extension}"


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4) + body + b"\0\0\0\x08free"


def picture(form: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, form)
    return stream.getvalue()


def sound() -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(800))
    return stream.getvalue()


def zipped(mimetype: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("mimetype", mimetype)
        archive.writestr("stack.xml", "<image/>")
    return stream.getvalue()


def media(form: str, *, video: str = "", audio: str = "", **options: str) -> bytes:
    """Write a short container with a picture, with sound, or with both."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=form, options=options) as container:
        packets: list[av.Packet[Any]] = []
        pictures = container.add_stream(video, rate=10) if video else None
        sound = container.add_stream(audio, rate=48000) if audio else None
        if isinstance(pictures, av.VideoStream):
            pictures.width, pictures.height, pictures.pix_fmt = 16, 16, "yuv420p"
            for _ in range(2):
                packets += pictures.encode(av.VideoFrame(16, 16, "yuv420p"))
            packets += pictures.encode(None)
        if isinstance(sound, av.AudioStream):
            sample_format = sound.codec_context.format
            assert sample_format is not None
            for number in range(4):
                frame = av.AudioFrame(format=sample_format, layout="stereo", samples=960)
                frame.sample_rate, frame.pts = 48000, 960 * number
                for plane in frame.planes:
                    plane.update(bytes(plane.buffer_size))
                packets += sound.encode(frame)
            packets += sound.encode(None)
        for packet in packets:
            container.mux(packet)
    return stream.getvalue()


def page(packet: bytes, *, first: bool = True) -> bytes:
    """Write a page of an Ogg stream."""
    body = packet + bytes(30)
    return b"OggS\0" + (b"\2" if first else b"\0") + bytes(20) + bytes([1, len(body)]) + body


TS = (b"G" + bytes(187)) * 4
ADTS = (b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)) * 3
CASES: list[tuple[bytes, str]] = [
    (png(), "image image/png png"),
    (picture("JPEG"), "image image/jpeg jpg"),
    (picture("GIF"), "image image/gif gif"),
    (picture("WEBP"), "image image/webp webp"),
    (picture("TIFF"), "image image/tiff tif"),
    (picture("BMP"), "image image/bmp bmp"),
    (picture("AVIF"), "image image/avif avif"),
    (b"II+\0\x08\0\0\0" + REST, "image image/tiff tif"),
    (b"MM\0+\0\x08\0\0" + REST, "image image/tiff tif"),
    (b"MM\0*" + REST, "image image/tiff tif"),
    (b"II*\0\x10\0\0\0CR" + REST, "image image/x-canon-cr2 cr2"),
    (b"\x76\x2f\x31\x01" + REST, "image image/x-exr exr"),
    (b"\xff\x0a" + REST, "image image/jxl jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + REST, "image image/jxl jxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + REST, "image image/jp2 jp2"),
    (b"#?RADIANCE\n" + REST, "image image/vnd.radiance hdr"),
    *((ftyp(brand), "image image/heic heic") for brand in (b"heic", b"heix", b"heim", b"heis")),
    *((ftyp(brand), "image image/heic-sequence heic") for brand in (b"hevc", b"hevx", b"hevm", b"hevs")),
    (ftyp(b"avis", b"msf1"), "image image/avif avif"),
    (ftyp(b"mif1", b"heic", b"mif1"), "image image/heic heic"),
    (ftyp(b"mif1", b"miaf", b"avif"), "image image/avif avif"),
    (ftyp(b"mif1", b"mif1"), "image image/heif heif"),
    (ftyp(b"msf1", b"hevc"), "image image/heic-sequence heic"),
    (ftyp(b"msf1"), "image image/heif-sequence heif"),
    (ftyp(b"jxl "), "image image/jxl jxl"),
    (ftyp(b"crx "), "image image/x-canon-cr3 cr3"),
    *((ftyp(brand), "audio audio/mp4 m4a") for brand in (b"M4A ", b"M4B ", b"F4A ", b"F4B ")),
    *((ftyp(brand), "video video/mp4 mp4") for brand in (b"isom", b"mp42", b"M4V ", b"F4V ", b"dash", b"new1")),
    (ftyp(b"new1", b"heic"), "image image/heic heic"),
    (ftyp(b"3gp5", b"isom"), "video video/3gpp 3gp"),
    (ftyp(b"3g2a"), "video video/3gpp2 3g2"),
    (ftyp(b"qt  "), "video video/quicktime mov"),
    (b"\0\0\0\x08wide\0\0\0\x08mdat", "video video/quicktime mov"),
    (media("mp4", video="mpeg4", audio="aac"), "video video/mp4 mp4"),
    (media("mp4", audio="aac"), "audio audio/mp4 m4a"),
    (media("mp4", audio="aac", movflags="frag_keyframe+empty_moov"), "audio audio/mp4 m4a"),
    (media("mov", audio="pcm_s16le"), "audio video/quicktime mov"),
    (media("webm", video="libvpx", audio="libopus"), "video video/webm webm"),
    (media("webm", audio="libopus"), "audio audio/webm webm"),
    (media("matroska", video="mpeg4"), "video video/x-matroska mkv"),
    (media("matroska", audio="flac"), "audio audio/x-matroska mka"),
    (media("ogg", audio="libopus"), "audio audio/ogg opus"),
    (media("ogg", audio="flac"), "audio audio/ogg ogg"),
    (page(b"\x80theora") + page(b"\x01vorbis"), "video video/ogg ogv"),
    (page(b"fishead\0") + page(b"\x01vorbis") + page(b"\x80theora"), "video video/ogg ogv"),
    (page(b"\x01vorbis") + page(b"\x80theora", first=False), "audio audio/ogg ogg"),
    (media("avi", video="mpeg4"), "video video/x-msvideo avi"),
    (media("mpegts", video="mpeg2video"), "video video/mp2t ts"),
    (media("flv", video="flv"), "video video/x-flv flv"),
    (media("adts", audio="aac"), "audio audio/aac aac"),
    (media("mp3", audio="libmp3lame"), "audio audio/mpeg mp3"),
    (media("flac", audio="flac"), "audio audio/flac flac"),
    (media("aiff", audio="pcm_s16be"), "audio audio/aiff aiff"),
    (media("wav", audio="pcm_s16le"), "audio audio/wav wav"),
    (sound(), "audio audio/wav wav"),
    (b"RF64\xff\xff\xff\xffWAVEds64" + REST, "audio audio/wav wav"),
    (b"FORM\0\0\0\x20AIFCFVER" + REST, "audio audio/aiff aiff"),
    (ADTS, "audio audio/aac aac"),
    (b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + ADTS, "audio audio/aac aac"),
    (b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + b"fLaC" + REST, "audio audio/flac flac"),
    (b"ID3\4\0\0\0\0\x7f\x7f" + REST, "audio audio/mpeg mp3"),
    (b"\xff\xfb\x90\x64" + REST, "audio audio/mpeg mp3"),
    (b"caff\0\1\0\0" + REST, "audio audio/x-caf caf"),
    (TS, "video video/mp2t ts"),
    ((b"0123G" + bytes(187)) * 4, "video video/mp2t ts"),
    (b"\0\0\1\xba" + REST, "video video/mpeg mpg"),
    (b"8BPS\0\1" + REST, "other image/vnd.adobe.photoshop psd"),
    (b"8BPS\0\2" + REST, "other image/vnd.adobe.photoshop psb"),
    (zipped("image/openraster"), "other image/openraster ora"),
    (zipped("application/x-krita"), "other application/x-krita kra"),
    (b"gimp xcf v011\0" + REST, "other image/x-xcf xcf"),
    (b"glTF\2\0\0\0" + REST, "other model/gltf-binary glb"),
    (b"ply\nformat binary_little_endian 1.0\n" + bytes(9), "other model/ply ply"),
    (b"ply\r\nformat ascii 1.0\r\n", "other model/ply ply"),
    (b"Kaydara FBX Binary  \0\x1a\0" + REST, "other application/x-fbx fbx"),
    (b"; FBX 7.7.0 project file\n", "other application/x-fbx fbx"),
    (b"solid cube\n facet normal 0 0 1\n", "other model/stl stl"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "other image/svg+xml svg"),
    (
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- <b> -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x">\n<svg >',
        "other image/svg+xml svg",
    ),
    (b"WEBVTT\n\n00:01.000 --> 00:02.000\nhi\n", "other text/vtt vtt"),
    (b"\xef\xbb\xbf1\r\n00:00:01,000 --> 00:00:02,000\r\nhi\r\n", "other application/x-subrip srt"),
    ("[Script Info]\n; a".encode("utf-8-sig"), "other text/x-ssa ass"),
    (b"%PDF-1.7\n\xe2\xe3" + REST, "other application/pdf pdf"),
]


@pytest.mark.parametrize(("content", "expected"), CASES, ids=[expected for _, expected in CASES])
def test_the_content_decides_whatever_the_name_says(content: bytes, expected: str) -> None:
    for name in ("x", "x.wav", "x.txt"):
        assert shown(type_of(content, name)) == expected
    kind = FileKind(expected.split(maxsplit=1)[0])
    assert type_of(content, "x", kind).kind == kind
    for wrong in {FileKind.IMAGE, FileKind.VIDEO, FileKind.AUDIO} - {kind}:
        with pytest.raises(UnsupportedMediaError, match=f"which is {kind} and not {wrong}"):
            type_of(content, "x", wrong)
    assert type_of(content, "x", FileKind.OTHER).kind == FileKind.OTHER


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("notes.txt", "eine Notiz: äöü".encode(), "text/plain; charset=utf-8 txt"),
        ("notes.TXT", b"a note", "text/plain; charset=utf-8 txt"),
        ("wide.txt", "a note".encode("utf-16"), "text/plain; charset=utf-8 txt"),
        ("readme.md", b"# Title\n", "text/plain; charset=utf-8 md"),
        ("page.html", b"<script>alert(1)</script>", "text/plain; charset=utf-8 html"),
        ("code.ts", b"export const a = 1;\n", "text/plain; charset=utf-8 ts"),
        ("mesh.obj", b"v 0 0 0\nf 1 1 1\n", "model/obj obj"),
        ("scene.gltf", b'{"asset": {"version": "2.0"}}', "model/gltf+json gltf"),
        ("data.json", b"[1]", "application/json json"),
        ("binary.stl", bytes(80) + b"\1\0\0\0" + bytes(50), "application/octet-stream stl"),
        ("lora.safetensors", b"\x20\0\0\0\0\0\0\0{}", "application/octet-stream safetensors"),
        ("archive.7z", b"7z\xbc\xaf\x27\x1c" + REST, "application/octet-stream 7z"),
        ("latin.txt", b"caf\xe9 au lait", "application/octet-stream txt"),
        ("split.txt", b"x" * (HEAD_BYTES - 1) + "é".encode(), "text/plain; charset=utf-8 txt"),
    ],
)
def test_what_says_nothing_is_kept_by_its_name(name: str, content: bytes, expected: str) -> None:
    assert shown(type_of(content, name)) == f"other {expected}"
    assert shown(type_of(content, name, FileKind.OTHER)) == f"other {expected}"
    with pytest.raises(UnsupportedMediaError, match="kind=other"):
        type_of(content, "no extension")
    with pytest.raises(UnsupportedMediaError, match="kind=other"):
        type_of(content, name, FileKind.IMAGE)


@pytest.mark.parametrize("name", ["x.png", "x.JPEG", "x.mp4", "x.m4v", "x.wav", "x.webm", "x.bmp", "x.heic", "x.aif"])
def test_a_name_that_claims_a_type_that_the_content_is_not_is_a_mistake(name: str) -> None:
    for content in (b"<html>502 Bad Gateway</html>", b"\0" * 100, png()[1:]):
        with pytest.raises(UnsupportedMediaError, match="may be cut off"):
            type_of(content, name)
        assert type_of(content, name, FileKind.OTHER).kind == FileKind.OTHER


@pytest.mark.parametrize("kind", [None, FileKind.IMAGE, FileKind.OTHER])
def test_nothing_is_no_file(kind: FileKind | None) -> None:
    with pytest.raises(UnsupportedMediaError, match="empty"):
        type_of(b"", "x.txt", kind)


def test_kind_other_without_a_name_for_it() -> None:
    assert shown(type_of(b"text", "x", FileKind.OTHER)) == "other text/plain; charset=utf-8 txt"
    assert shown(type_of(bytes(9), "x", FileKind.OTHER)) == "other application/octet-stream bin"
    assert shown(type_of(bytes(9), "a.b-c", FileKind.OTHER)) == "other application/octet-stream bin"


def test_intermediates_have_the_type_of_their_content_or_name() -> None:
    assert shown(intermediate("x", FileKind.MASK, png())) == "mask image/png png"
    assert shown(intermediate("x.latent", FileKind.LATENT, b"?")) == "latent application/octet-stream latent"
    assert shown(intermediate("x", FileKind.FRAME, b"?")) == "frame application/octet-stream bin"


def test_tracks_that_something_else_read_decide_too() -> None:
    head = ftyp(b"isom")
    sniffed = sniff(head)
    assert sniffed is not None
    assert refine(sniffed, ()) == sniffed
    assert refine(sniffed, {"audio"}).kind == FileKind.AUDIO
    assert refine(sniffed, {"audio", "video"}) == sniffed
    assert refine(MediaType(FileKind.AUDIO, "audio/ogg", "ogg"), {"video"}).kind == FileKind.VIDEO
    image = MediaType(FileKind.IMAGE, "image/png", "png")
    assert refine(image, {"audio"}) == image


@pytest.mark.parametrize("form", ["video/mp4", "video/webm", "video/ogg"])
def test_tracks_cost_a_few_reads_whatever_a_file_says_of_itself(form: str) -> None:
    hostile = [
        (b"\0\0\0\x08free") * 100_000,
        b"\0\0\0\x01free" + (8).to_bytes(8) + b"\0\0\0\0moov" * 9,
        b"\0\0\0\0moov" + b"\0\0\0\x08trak" * 100_000,
        b"\0\0\0\0moov" + b"\0\0\0\0trak" * 100_000,
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + b"\xec\x80" * 100_000,
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff\x16\x54\xae\x6b\xff" + b"\xae\x80" * 100_000,
        (b"OggS\0\2" + bytes(20) + b"\0") * 10_000,
        (b"OggS\0\2" + bytes(20) + b"\xff" + b"\xff" * 255) * 100,
    ]
    for content in hostile:
        reads: list[int] = []

        def read_at(offset: int, size: int, content: bytes = content, reads: list[int] = reads) -> bytes:
            reads.append(size)
            return content[offset : offset + size]

        assert read_tracks(form, read_at) == frozenset()
        assert len(reads) <= STEPS_LIMIT
        assert max(reads) <= tracks.HEADER_BYTES


@given(
    st.binary(max_size=300),
    st.sampled_from(["", "RIFF", "OggS", "\x1aEß£", "    ftyp", "    moov", "ID3", "PK\3\4", "<"]),
)
def test_no_content_breaks_it(rest: bytes, start: str) -> None:
    content = start.encode("latin-1") + rest
    media_type = sniff(content)
    assert media_type is None or media_type.extension.isalnum()
    for form in ("video/mp4", "video/webm", "audio/ogg"):
        assert read_tracks(form, reader(content)) <= set(Track)
