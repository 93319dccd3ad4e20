# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read texts in media files: from what the real libraries write, and within a budget from what they never would."""

from __future__ import annotations

import io
import json
import tempfile
import zlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noslop_backend.core.enums import FileState
from noslop_backend.media import probe, tags
from noslop_backend.media.probe import Inspection, Limits
from noslop_backend.media.tags.limits import ITEMS_LIMIT, LIMIT_BYTES, TEXTS_LIMIT, Budget, BudgetExceededError, Texts
from noslop_backend.media.tags.png import read as read_png
from noslop_backend.media.types import sniff
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

from tests.backend import samples
from tests.backend.samples import SAMPLES, Sample, chunk, encoded, png_text
from tests.backend.studio import Studio, png

FILE_ID = "bcdfghjkmnpqr"
PROMPT = {"3": {"class_type": "KSampler", "inputs": {"seed": 5, "text": "Über 日本 \U0001f3a8", "image": "x"}}}
WORKFLOW = {"nodes": [], "long": "x" * 1000}
CONTAINERS = [
    ("mp4", "mpeg4", True),
    ("mov", "mpeg4", True),
    ("webm", "libvpx-vp9", True),
    ("matroska", "mpeg4", True),
    ("flac", "flac", False),
    ("mp3", "libmp3lame", False),
    ("ogg", "libopus", False),
]


def made(container: str, codec: str, video: bool) -> bytes:
    """Return a file of a container with a prompt and a workflow of 70 KB."""
    options = "movflags=use_metadata_tags" if container in {"mp4", "mov"} else ""
    texts = {"prompt": json.dumps(PROMPT), "workflow": json.dumps({"nodes": [], "long": "x" * 70_000})}
    return encoded(container, codec, video=video, options=options)(texts)


#: On a busy host a child waits for its turn.
PATIENT = Limits(wall_s=3600)
#: What ComfyUI's `comf` and Pillow's TIFF writer can write.
_ASCII = {"APNG", "TIFF"}


def inspected(content: bytes, content_type: str, limits: Limits = PATIENT) -> Inspection:
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        return probe.inspect(stream, content_type, limits)


def read(content: bytes, content_type: str) -> dict[str, Any]:
    return inspected(content, content_type).embedded


def sniffed(sample: Sample, content: bytes) -> str:
    """Return the type that an upload has: by its first bytes, and for tensors none."""
    media_type = sniff(content[:4096])
    return media_type.content_type if media_type else "application/octet-stream"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_texts_that_programs_write_are_read(sample: Sample) -> None:
    prompt = {**PROMPT, "4": {"class_type": "LoadLatent", "inputs": {"latent": f"a-{FILE_ID}.latent"}}}
    texts = {"prompt": json.dumps(prompt, ensure_ascii=sample.container in _ASCII), "workflow": json.dumps(WORKFLOW)}
    if sample.is_joined and sample.writer not in {"VideoHelperSuite", "FFmpeg"}:
        del texts["workflow"]
    content = sample.make(texts)
    inspection = inspected(content, sniffed(sample, content))
    assert inspection.problem == ""
    assert inspection.left_out == ()
    assert inspection.content_type == sample.content_type
    assert (inspection.facts.width, inspection.facts.frames) == (sample.width, sample.frames)
    # A reference to a file is whatever names it, in any of the texts.
    assert layout.ids_in_text(json.dumps(inspection.texts)) == {FILE_ID}
    if sample.place == "XMP":
        assert "LoadLatent" in inspection.texts["xmp"]
        return
    for key, text in texts.items():
        embedded: Any = tags.parse(inspection.texts[sample.key(key)])
        assert embedded == json.loads(text) or json.loads(embedded[key]) == json.loads(text)


def test_texts_are_in_the_sidecar(studio: Studio, project: str) -> None:
    saved = studio.storage.save_generated_media(project, "m", made("mp4", "mpeg4", True))
    assert studio.storage.load_metadata(project, saved.id)["embedded"]["prompt"] == PROMPT
    studio.check(project)


def test_a_file_that_embedded_texts_name_is_kept(studio: Studio, project: str) -> None:
    storage = studio.storage
    latents = [storage.save_intermediate(project, FileKind.LATENT, f"noise {number}", b"0123") for number in range(3)]
    texts = [{"prompt": json.dumps({"1": {"inputs": {"latent": latent.path}}})} for latent in latents]
    storage.save_generated_media(project, "m", samples.apng(texts[0]))
    storage.save_generated_media(project, "m", samples.webp(texts[1]))
    later = storage.save_intermediate(project, FileKind.LATENT, "later", samples.latent(texts[2]))
    assert [row.id for row in storage.get_inputs(project, later.id)] == [latents[2].id]
    storage.cleanup_intermediate(project, older_than=timedelta(0))
    kept = {row.id for row in studio.rows(project) if row.state == FileState.PRESENT}
    assert {latent.id for latent in latents[:2]} <= kept
    # Nothing needs the last but a latent that nothing needs.
    assert latents[2].id not in kept
    studio.check(project)


@pytest.mark.parametrize(("container", "codec", "video"), CONTAINERS)
def test_a_workflow_of_70_kb_is_read_whole(container: str, codec: str, video: bool) -> None:
    content = made(container, codec, video)
    media_type = sniff(content[:4096])
    assert media_type is not None
    assert media_type.kind == ("video" if video else "audio")
    embedded = read(content, media_type.content_type)
    assert embedded["prompt"] == PROMPT
    assert len(embedded["workflow"]["long"]) == 70_000


def test_every_kind_of_text_in_a_png_is_read() -> None:
    plain = png()
    chunks = [
        chunk(b"tEXt", b"a\0caf\xe9"),
        chunk(b"tEXt", b"b\0" + "é".encode()),
        chunk(b"zTXt", b"c\0\0" + zlib.compress(b"packed")),
        chunk(b"iTXt", b"d\0\0\0de\0x\0" + "ü".encode()),
        chunk(b"iTXt", b"e\0\1\0\0\0" + zlib.compress(b"{}")),
        chunk(b"tEXt", b"b\0another"),
        chunk(b"zTXt", b"f\0\0nonsense"),
    ]
    content = plain[:33] + b"".join(chunks[:4]) + plain[33:-12] + b"".join(chunks[4:]) + plain[-12:]
    embedded = read(content, "image/png")
    (dropped,) = embedded.pop(tags.LEFT_OUT)
    assert embedded == {"a": "café", "b": "é", "c": "packed", "d": "ü", "e": {}, "b#2": "another"}
    assert dropped["key"] == "f"
    assert "damaged" in dropped["why"]


def test_a_picture_without_texts_starts_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_ask", None)
    inspection = inspected(samples.saved("PNG"), "image/png")
    assert (inspection.facts.width, inspection.facts.height, inspection.facts.frames) == (*samples.SIZE, 1)


BOMB = zlib.compress(b"x" * (64 * 1024 * 1024))
LONG = b"x" * (LIMIT_BYTES + 1)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("image/png", png()[:33] + chunk(b"zTXt", b"long\0\0" + BOMB) + chunk(b"tEXt", b"a\0b") + png()[33:]),
        ("image/png", png()[:33] + chunk(b"tEXt", b"long\0" + LONG) + chunk(b"tEXt", b"a\0b") + png()[33:]),
        ("image/png", png()[:33] + chunk(b"iTXt", b"long\0\1\0\0\0" + BOMB) + chunk(b"comf", b"a\0b") + png()[33:]),
        ("video/mp4", encoded("mp4", "mpeg4", options="movflags=use_metadata_tags")({"long": LONG.decode(), "a": "b"})),
        ("audio/mpeg", encoded("mp3", "libmp3lame", video=False)({"long": LONG.decode(), "a": "b"})),
        ("application/octet-stream", samples.latent({"long": LONG.decode(), "a": "b"})),
    ],
    ids=["zTXt", "tEXt", "iTXt", "mdta", "TXXX", "safetensors"],
)
def test_a_text_that_is_too_long_is_left_out_by_name(content_type: str, content: bytes) -> None:
    inspection = inspected(content, content_type)
    assert inspection.texts["a"] == "b"
    (dropped,) = inspection.left_out
    assert dropped.key == "long"
    assert dropped.bytes > 60_000
    assert "MiB of text" in dropped.why or "unpacks to more than" in dropped.why


def test_more_texts_than_are_kept_are_left_out() -> None:
    content = png_text({str(number): str(number) for number in range(TEXTS_LIMIT + 300)})
    inspection = inspected(content, "image/png")
    assert len(inspection.texts) == TEXTS_LIMIT
    assert [one.key for one in inspection.left_out[:2]] == ["1000", "1001"]
    assert inspection.left_out[-1].why == "200 more texts are left out and not named"


class _Counted(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


def test_a_png_of_nothing_but_chunks_is_not_read_to_its_end() -> None:
    stream = _Counted(samples.png_text({})[:8] + chunk(b"nope", b"") * 200_000)
    with pytest.raises(BudgetExceededError, match="parts"):
        read_png(stream, Texts(), Budget(3600))
    assert stream.reads <= 2 * ITEMS_LIMIT


#: Eight megabytes of the smallest parts that a container can have (and headers that make them one).
_EMPTY_PARTS = {
    "image/png": (b"\x89PNG\r\n\x1a\n", chunk(b"nope", b"")),
    "image/gif": (b"GIF89a" + b"\1\0\1\0\0\0\0", b"\x21\xfe\0"),
    "image/tiff": (b"II*\0\x08\0\0\0", b"\xff\xff"),
    "video/mp4": (b"\0\0\0\x14ftypisom\0\0\0\0isom", b"\0\0\0\x08moov"),
    "video/webm": (
        b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff",
        b"\xec\x80",
    ),
    "video/x-msvideo": (b"RIFF\xff\xff\xff\x7fAVI ", b"JUNK\0\0\0\0"),
    "audio/wav": (b"RIFF\xff\xff\xff\x7fWAVE", b"JUNK\0\0\0\0"),
    "audio/flac": (b"fLaC", b"\1\0\0\0"),
    "audio/ogg": (b"", b"OggS" + b"\0" * 23),
    "audio/mpeg": (b"ID3\4\0\0" + bytes([0x03, 0x7F, 0x7F, 0x7F]), b"TXXX" + b"\0" * 6),
}


@pytest.mark.parametrize("content_type", _EMPTY_PARTS)
def test_a_file_of_nothing_but_parts_ends_at_its_budget(content_type: str) -> None:
    start, part = _EMPTY_PARTS[content_type]
    inspection = inspected(start + part * (8_000_000 // len(part)), content_type, Limits(budget_s=0.3, wall_s=3600))
    assert inspection.texts == {}
    assert inspection.problem or inspection.left_out
    assert "crashed" not in inspection.problem


_FUZZED = [sample for sample in SAMPLES if sample.frames != 3 or sample.container == "GIF"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_files_are_read_without_a_crash(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(_FUZZED))
    content = bytearray(sample.make({"prompt": json.dumps(PROMPT)}))
    content_type = sniffed(sample, bytes(content))
    for at, value in data.draw(st.lists(st.tuples(st.integers(4, len(content) - 1), st.integers(0, 255)), max_size=20)):
        content[at] = value
    cut = data.draw(st.integers(0, len(content)))
    inspection = inspected(bytes(content[:cut]), content_type)
    assert "crashed" not in inspection.problem
    json.dumps({key: tags.parse(text) for key, text in inspection.texts.items()})
