# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters in media files: read from what the real muxers write, and harmless in what nobody should write."""

from __future__ import annotations

import io
import json
import zlib
from functools import cache
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.media import tags
from noslop_backend.media.tags.limits import ITEMS_LIMIT
from noslop_backend.media.types import sniff

from tests.backend.studio import Studio, png

PROMPT = {"3": {"class_type": "KSampler", "inputs": {"seed": 5, "text": "Über 日本 \U0001f3a8"}}}
TAGS = {"prompt": json.dumps(PROMPT), "workflow": json.dumps({"nodes": [], "long": "x" * 70_000})}


@cache
def made(container: str, codec: str, video: bool) -> bytes:
    """A file with these tags, as ComfyUI makes it with the same library."""
    stream = io.BytesIO()
    options = {"movflags": "use_metadata_tags"} if container in {"mp4", "mov"} else {}
    with av.open(stream, "w", format=container, options=options) as output:
        output.metadata.update(TAGS)
        if video:
            track: Any = output.add_stream(codec, rate=8)
            track.width = track.height = 32
            track.pix_fmt = "yuv420p"
            frame: Any = av.VideoFrame(32, 32, "yuv420p")
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


CONTAINERS = [
    ("mp4", "mpeg4", True),
    ("mov", "mpeg4", True),
    ("webm", "libvpx-vp9", True),
    ("matroska", "mpeg4", True),
    ("flac", "flac", False),
    ("mp3", "libmp3lame", False),
    ("ogg", "libopus", False),
]


@pytest.mark.parametrize(("container", "codec", "video"), CONTAINERS)
def test_tags_of_video_and_audio_are_read(container: str, codec: str, video: bool) -> None:
    content = made(container, codec, video)
    found = sniff(content[:4096])
    assert found is not None
    assert found.kind == ("video" if video else "audio")
    read = tags.read(io.BytesIO(content), found.content_type)
    assert read["prompt"] == PROMPT
    assert read["workflow"] == json.loads(TAGS["workflow"])


def test_they_are_in_the_sidecar(studio: Studio, project: str) -> None:
    saved = studio.storage.save_generated_media(project, "m", made("mp4", "mpeg4", True))
    assert studio.storage.load_metadata(project, saved.id)["embedded"]["prompt"] == PROMPT
    studio.check(project)


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def test_every_kind_of_text_in_a_png_is_read() -> None:
    plain = png()
    texts = [
        chunk(b"tEXt", b"a\0caf\xe9"),
        chunk(b"tEXt", b"b\0" + "é".encode()),
        chunk(b"zTXt", b"c\0\0" + zlib.compress(b"packed")),
        chunk(b"iTXt", b"d\0\0\0de\0x\0" + "ü".encode()),
        chunk(b"iTXt", b"e\0\1\0\0\0" + zlib.compress(b"{}")),
        chunk(b"zTXt", b"f\0\0nonsense"),
    ]
    content = plain[:33] + b"".join(texts) + plain[33:]
    read = tags.read(io.BytesIO(content), "image/png")
    assert read == {"a": "café", "b": "é", "c": "packed", "d": "ü", "e": {}}


def test_a_text_that_claims_to_be_enormous_is_left_out() -> None:
    bomb = zlib.compress(b"\0" * (64 * 1024 * 1024))
    content = png()[:33] + chunk(b"zTXt", b"bomb\0\0" + bomb) + chunk(b"tEXt", b"a\0b") + png()[33:]
    assert tags.read(io.BytesIO(content), "image/png") == {"a": "b"}


class _Counted(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize(
    ("content_type", "start", "item"),
    [
        ("image/png", b"\x89PNG\r\n\x1a\n", chunk(b"nope", b"")),
        ("video/mp4", b"", b"\0\0\0\x08moov"),
        ("video/webm", b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff", b"\xec\x80"),
        ("video/webm", b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff", b"\x12\x54\xc3\x67\x80"),
        ("audio/flac", b"fLaC", b"\0\0\0\0"),
        ("audio/ogg", b"", b"OggS" + b"\0" * 23),
        ("audio/mpeg", b"ID3\4\0\0" + bytes([0x03, 0x7F, 0x7F, 0x7F]), b"TXXX" + b"\0" * 6),
    ],
)
def test_a_file_of_nothing_but_items_is_not_read_to_its_end(content_type: str, start: bytes, item: bytes) -> None:
    stream = _Counted(start + item * (2_000_000 // len(item)))
    assert tags.read(stream, content_type) == {}
    assert stream.reads <= 2 * ITEMS_LIMIT + 10


@given(st.data())
def test_files_that_lie_are_read_without_an_error(data: st.DataObject) -> None:
    container, codec, video = data.draw(st.sampled_from([*CONTAINERS, ("png", "", False)]))
    content = bytearray(png(1, TAGS) if container == "png" else made(container, codec, video))
    found = sniff(bytes(content[:4096]))
    assert found is not None
    for at, value in data.draw(st.lists(st.tuples(st.integers(4, len(content) - 1), st.integers(0, 255)), max_size=20)):
        content[at] = value
    cut = data.draw(st.integers(0, len(content)))
    read = tags.read(io.BytesIO(bytes(content[:cut])), found.content_type)
    json.dumps(read)


@given(
    st.binary(max_size=400),
    st.sampled_from(["image/png", "video/mp4", "video/webm", "audio/flac", "audio/mpeg", "audio/ogg"]),
)
def test_anything_is_read_without_an_error(content: bytes, content_type: str) -> None:
    starts = {
        "audio/mpeg": b"ID3\4\0\0\0\0\7\x7f",
        "audio/ogg": b"OggS" + b"\0" * 22 + b"\3",
        "audio/flac": b"fLaC\x84\0\1\0",
    }
    json.dumps(tags.read(io.BytesIO(starts.get(content_type, b"") + content), content_type))
    sniff(content)
