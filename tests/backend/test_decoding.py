# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decode media in a real child with real limits: what it returns, and what the service survives."""

from __future__ import annotations

import ast
import io
import os
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from noslop_backend.media import probe
from noslop_backend.media.probe import Limits
from noslop_backend.media.probe.launcher import LAUNCHER
from noslop_backend.media.types import sniff
from PIL import Image

from tests.backend.samples import SIZE, chunk
from tests.backend.studio import png
from tests.backend.test_embedded import CONTAINERS, made

#: On a busy host a child takes its time to start.
PATIENT = Limits(wall_s=3600)


def decode(content: bytes, limits: Limits = PATIENT, alive: Callable[[], None] = lambda: None) -> dict[str, Any]:
    media_type = sniff(content[:4096])
    assert media_type is not None
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        return probe.facts(stream, media_type.content_type, limits, alive)


def picture(width: int, height: int, rows: bytes, depth: int = 8, color: int = 0) -> bytes:
    """Return a PNG of grey pixels, as its header says, whatever rows it has."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


#: A picture that takes so long to decode that a test finds its child.
_SLOW = picture(20_000, 20_000, bytes(20_000 * 2501), depth=1)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_an_image_tells_its_size(name: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), (10, 200, 30)).save(stream, name)
    assert decode(stream.getvalue()) == {
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
    facts = decode(stream.getvalue())
    assert (facts["decoded"], facts["frames"], facts["duration_s"]) == (True, 4, 1.0)


@pytest.mark.parametrize(("container", "codec", "video"), CONTAINERS)
def test_video_and_audio_tell_what_they_are(container: str, codec: str, video: bool) -> None:
    facts = decode(made(container, codec, video))
    assert facts["decoded"] is True, facts
    if video:
        assert (facts["width"], facts["height"], facts["frames"]) == (*SIZE, 1)
        assert facts["codec"] == {"libvpx-vp9": "vp9"}.get(codec, codec)
    else:
        assert facts["audio"]["sample_rate"] == 48_000
        assert facts["audio"]["channels"] == 1


@pytest.mark.parametrize(
    "content",
    [png()[:-30], made("mp4", "mpeg4", True).partition(b"moov")[0], made("flac", "flac", False)[:1000], png()[:40]],
)
def test_a_file_that_is_cut_off_is_reported(content: bytes) -> None:
    facts = decode(content)
    assert facts["decoded"] is False
    assert facts["problem"].startswith("could not be decoded: ")


def test_a_type_without_a_decoder_is_reported() -> None:
    facts = decode(b"\0\0\0\x20ftypheic" + b"x" * 100)
    assert facts == {"decoded": False, "problem": "could not be decoded: there is no decoder for image/heic here"}


def test_a_bomb_ends_at_its_memory() -> None:
    """41 KB that want to be 40 GB."""
    facts = decode(picture(200_000, 200_000, bytes(40_000_000)))
    assert (facts["decoded"], facts["width"]) == (False, 200_000)
    assert "more than the 2048 MiB of memory" in facts["problem"]


def test_a_decoder_whose_time_is_over_returns_what_it_has() -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), (number * 50, 0, 0)) for number in range(4)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=250)
    for content, seen in ((stream.getvalue(), 1), (made("mp4", "mpeg4", True), 0)):
        facts = decode(content, Limits(budget_s=0, wall_s=3600))
        assert (facts["decoded"], facts["complete"]) == (True, False)
        assert facts["frames"] >= seen


@pytest.fixture
def server() -> int:
    """Return the process id of a fork server that runs."""
    assert decode(png())["decoded"] is True
    assert LAUNCHER.pid is not None
    return LAUNCHER.pid


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGXCPU, "decoding it took more than 60 s of processor time"),
        (signal.SIGSEGV, "the decoder crashed (SIGSEGV)"),
        (signal.SIGKILL, "the decoder crashed (SIGKILL)"),
    ],
)
def test_a_child_that_is_killed_takes_nothing_along(number: signal.Signals, why: str, server: int) -> None:
    def end() -> None:
        for pid in children(server):
            os.kill(pid, number)

    assert decode(_SLOW, alive=end) == {"decoded": False, "problem": f"could not be decoded: {why}"}
    assert LAUNCHER.pid == server
    assert decode(png())["decoded"] is True


def test_a_child_that_does_not_end_is_killed(server: int) -> None:
    facts = decode(_SLOW, Limits(wall_s=0.001))
    assert facts["problem"] == "could not be decoded: decoding it did not end within 0.001 s"
    wait_for_no_children(server)


def test_a_caller_that_gives_up_leaves_no_child_behind(server: int) -> None:
    def lose_lease() -> None:
        raise InterruptedError("the lease")

    with pytest.raises(InterruptedError):
        decode(_SLOW, alive=lose_lease)
    wait_for_no_children(server)


def test_time_counts_from_the_start_of_the_child(server: int) -> None:
    os.kill(server, signal.SIGSTOP)
    calls = 0

    def wake() -> None:
        nonlocal calls
        calls += 1
        # About a second lies between two calls: more than the child has.
        if calls == 4:
            os.kill(server, signal.SIGCONT)

    assert decode(png(), Limits(wall_s=2), alive=wake)["decoded"] is True
    assert LAUNCHER.pid == server


def test_the_fork_server_starts_before_the_first_file() -> None:
    LAUNCHER.stop()
    LAUNCHER.start()
    pid = LAUNCHER.pid
    assert pid is not None
    LAUNCHER.start()
    assert decode(png())["decoded"] is True
    assert LAUNCHER.pid == pid


def test_a_fork_server_that_was_killed_is_started_again(server: int) -> None:
    os.kill(server, signal.SIGKILL)
    assert decode(png())["decoded"] is True
    assert LAUNCHER.pid not in {None, server}


def test_a_fork_server_that_is_killed_while_it_reads_is_asked_again(server: int) -> None:
    killed: list[int] = []

    def kill_once() -> None:
        if not killed and children(server):
            killed.append(server)
            os.kill(server, signal.SIGKILL)

    assert decode(_SLOW, Limits(budget_s=0.5, wall_s=3600), alive=kill_once)["decoded"] is True
    assert killed == [server]
    assert LAUNCHER.pid != server


def test_the_fork_server_ends_with_its_backend() -> None:
    code = """
import os, sys, tempfile
from noslop_backend.media import probe
from noslop_backend.media.probe.launcher import LAUNCHER
with tempfile.TemporaryFile() as stream:
    stream.write(bytes.fromhex(sys.argv[1]))
    stream.flush()
    assert probe.facts(stream, "image/png")["decoded"]
print(LAUNCHER.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code, png().hex()], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        os.sched_yield()


def test_a_process_that_was_forked_starts_a_fork_server_of_its_own(server: int) -> None:
    pid = os.fork()
    if pid == 0:
        is_own = decode(png())["decoded"] and LAUNCHER.pid not in {None, server}
        LAUNCHER.stop()
        os._exit(0 if is_own else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert decode(png())["decoded"] is True
    assert LAUNCHER.pid == server


def test_files_of_several_threads_are_read_side_by_side(server: int) -> None:
    contents = [picture(number + 1, 1, bytes(number + 2)) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert [facts["width"] for facts in pool.map(decode, contents)] == list(range(1, 25))
    assert LAUNCHER.pid == server
    wait_for_no_children(server)


def test_only_the_fork_server_and_its_children_load_decoders() -> None:
    top = Path(probe.__file__).parents[2]
    importers: set[str] = set()
    for path in top.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] in {"PIL", "av"} for name in names):
                importers.add(path.relative_to(top).as_posix())
    assert importers == {"media/probe/images.py", "media/probe/streams.py"}
    code = "import sys, noslop_backend.comfyui.ingest; print({'PIL', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def children(pid: int) -> set[int]:
    """Return the processes that a process started and that have not been waited for."""
    listed = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return {int(child) for text in listed for child in text.split()}


def wait_for_no_children(pid: int) -> None:
    """Wait until all children of a process have ended; a test that fails here hangs."""
    while children(pid):
        os.sched_yield()
