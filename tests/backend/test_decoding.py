# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Media are decoded by a real child with real limits: what it tells, and what it survives for us."""

from __future__ import annotations

import ast
import io
import os
import signal
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import noslop_backend
import pytest
from noslop_backend.media import probe
from noslop_backend.media.probe import Limits
from noslop_backend.media.types import sniff
from PIL import Image

from tests.backend.studio import png
from tests.backend.test_embedded import CONTAINERS, chunk, made

#: On a busy host a child takes its time to start.
PATIENT = Limits(wall_s=3600)


def looked(content: bytes, limits: Limits = PATIENT, alive: Callable[[], None] = lambda: None) -> dict[str, Any]:
    found = sniff(content[:4096])
    assert found is not None
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        return probe.facts(stream, found.content_type, limits, alive)


def picture(width: int, height: int, rows: bytes, depth: int = 8, color: int = 0) -> bytes:
    """A PNG of grey pixels, as it is in its header, whatever rows it has."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_an_image_tells_its_size(name: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), (10, 200, 30)).save(stream, name)
    assert looked(stream.getvalue()) == {
        "decoded": True,
        "format": name,
        "width": 64,
        "height": 48,
        "frames": 1,
    }


def test_an_animation_tells_its_frames_and_how_long_it_takes() -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), (number * 50, 0, 0)) for number in range(4)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=250)
    facts = looked(stream.getvalue())
    assert (facts["decoded"], facts["frames"], facts["duration_s"]) == (True, 4, 1.0)


@pytest.mark.parametrize(("container", "codec", "video"), CONTAINERS)
def test_video_and_audio_tell_what_they_are(container: str, codec: str, video: bool) -> None:
    facts = looked(made(container, codec, video))
    assert facts["decoded"] is True, facts
    if video:
        assert (facts["width"], facts["height"], facts["frames"]) == (32, 32, 1)
        assert facts["codec"] == {"libvpx-vp9": "vp9"}.get(codec, codec)
    else:
        assert facts["audio"]["sample_rate"] == 48_000
        assert facts["audio"]["channels"] == 1


@pytest.mark.parametrize(
    "content",
    [png()[:-30], made("mp4", "mpeg4", True).partition(b"moov")[0], made("flac", "flac", False)[:1000], png()[:40]],
)
def test_what_is_cut_off_is_said_to_be_so(content: bytes) -> None:
    facts = looked(content)
    assert facts["decoded"] is False
    assert facts["problem"].startswith("could not be decoded: ")


def test_what_nothing_here_decodes_is_said_too() -> None:
    facts = looked(b"\0\0\0\x20ftypheic" + b"x" * 100)
    assert facts == {"decoded": False, "problem": "could not be decoded: there is no decoder for image/heic here"}


def test_a_bomb_ends_at_its_memory() -> None:
    """41 KB that want to be 40 GB."""
    facts = looked(picture(200_000, 200_000, bytes(40_000_000)))
    assert (facts["decoded"], facts["width"]) == (False, 200_000)
    assert "more than the 2048 MiB of memory" in facts["problem"]


def test_one_that_takes_long_tells_what_it_has_seen() -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), (number * 50, 0, 0)) for number in range(4)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=250)
    for content, seen in ((stream.getvalue(), 1), (made("mp4", "mpeg4", True), 0)):
        facts = looked(content, Limits(budget_s=0, wall_s=3600))
        assert (facts["decoded"], facts["complete"]) == (True, False)
        assert facts["frames"] >= seen


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGXCPU, "decoding it took more than 60 s of processor time"),
        (signal.SIGSEGV, "the decoder crashed (SIGSEGV)"),
        (signal.SIGKILL, "the decoder crashed (SIGKILL)"),
    ],
)
def test_one_that_is_ended_takes_nothing_along(number: signal.Signals, why: str, others: set[int]) -> None:
    def end() -> None:
        for pid in children() - others:
            os.kill(pid, number)

    assert looked(png(), alive=end) == {"decoded": False, "problem": f"could not be decoded: {why}"}


def test_one_that_does_not_end_is_ended(others: set[int]) -> None:
    facts = looked(png(), Limits(wall_s=0.001))
    assert facts["problem"] == "could not be decoded: decoding it did not end within 0.001 s"
    assert children() <= others


def test_who_is_not_wanted_any_more_leaves_no_child_behind(others: set[int]) -> None:
    def lost() -> None:
        raise InterruptedError("the lease")

    with pytest.raises(InterruptedError):
        looked(png(), alive=lost)
    assert children() <= others


def test_nobody_but_the_child_loads_decoders() -> None:
    top = Path(noslop_backend.__file__).parent
    found: dict[str, str] = {}
    for path in top.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {str(path.relative_to(top)): name for name in names if name.partition(".")[0] in {"PIL", "av"}}
    assert list(found) == ["media/probe/child.py"]


def children() -> set[int]:
    """Processes that this one started and has not heard the end of."""
    found = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return {int(pid) for text in found for pid in text.split()}


@pytest.fixture
def others() -> set[int]:
    """Those of other tests: servers that they share, for one."""
    return children()
