# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The child that decodes: `python -I -m noslop_backend.decoding.child PARENT TYPE MEMORY_BYTES CPU_S BUDGET_S < FILE`.

First it takes everything from itself that it does not need: memory beyond its share, processor time, further processes
and threads, files to write to. Then it loads its decoders, and gives up the right to open anything at all: with a
limit of 0 descriptors no file, no socket and no pipe can be opened any more, and the kernel refuses every system call
that decoding does not need (`seccomp.py`), whatever a decoder is talked into. Only then it reads the file. It says one
JSON object and ends; and it ends with the process PARENT that wants to know.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import pkgutil
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from noslop_backend.core import confinement
from noslop_backend.media.probe import seccomp

if TYPE_CHECKING:
    from av import AudioStream, VideoStream
    from av.container import InputContainer
    from PIL import Image

#: A command, and downloads.
_NOT_NEEDED = {"av.__main__", "av.datasets"}
Facts = dict[str, Any]
Decoder = Callable[[BinaryIO, Facts, "Budget"], None]

#: Names that Pillow knows formats by.
_PILLOW = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
}
#: The modules that read those.
_PLUGINS = {"PNG": "Png", "JPEG": "Jpeg", "GIF": "Gif", "WEBP": "WebP", "TIFF": "Tiff", "AVIF": "Avif"}
#: And FFmpeg: only that demuxer is asked, so that no playlist is taken for a video.
_FFMPEG = {
    "image/x-exr": "exr_pipe",
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "audio/mp4": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/ogg": "ogg",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
}


class Budget:
    """Processor time in which a file is to be decoded. Who has used it up tells what was seen so far."""

    def __init__(self, budget_s: float) -> None:
        self._until = time.process_time() + budget_s

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return time.process_time() >= self._until


def confine(memory_bytes: int, cpu_s: int) -> None:
    """Take from this process what it does not need."""
    # Where memory becomes scarce all the same, this process is the one that the kernel ends.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write("1000")
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(what, (most, most))
    # SIGXCPU at the first, SIGKILL at the second.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    # Another child, of another file, has the same account.
    confinement.protect_memory()


def close_the_door() -> None:
    """Let this process open nothing, and reach nothing else, from now on. What is open stays so."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    seccomp.allow_only_decoding()


def prepare(content_type: str) -> Decoder | None:
    """Load what decodes this type; None where nothing here does."""
    if content_type in _PILLOW:
        return _prepare_pillow(_PILLOW[content_type])
    if content_type in _FFMPEG:
        return _prepare_ffmpeg(_FFMPEG[content_type])
    return None


def _prepare_pillow(name: str) -> Decoder:
    from PIL import AvifImagePlugin, Image, ImageSequence  # noqa: PLC0415 - only once this process is confined

    Image.preinit()
    importlib.import_module(f"PIL.{_PLUGINS[name]}ImagePlugin")
    # What is too large is what does not fit into the memory that there is, and nothing else.
    Image.MAX_IMAGE_PIXELS = None
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1

    def decode(stream: BinaryIO, facts: Facts, budget: Budget) -> None:
        with Image.open(stream, formats=[name]) as image:
            facts |= {"format": name, "width": image.width, "height": image.height, "frames": 0}
            _pictures(ImageSequence.Iterator(image), facts, budget)

    return decode


def _pictures(pictures: Iterator[Image.Image], facts: Facts, budget: Budget) -> None:
    milliseconds = 0.0
    for picture in pictures:
        picture.load()
        facts["frames"] += 1
        shown = picture.info.get("duration")
        milliseconds += shown if isinstance(shown, int | float) else 0
        if facts["frames"] > 1 and milliseconds:
            facts["duration_s"] = _plain(milliseconds / 1000)
        if budget.is_over:
            facts["complete"] = False
            return


def _prepare_ffmpeg(name: str) -> Decoder:
    import av.logging  # noqa: PLC0415 - only once this process is confined

    # Some of its modules are else imported when a stream wants them, and then nothing can be opened any more.
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in _NOT_NEEDED:
            importlib.import_module(module.name)
    av.logging.set_level(None)
    # Texts that are no UTF-8 are no error here. From version 19 on that is PyAV's own way, and it has no word for it.
    texts: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

    def decode(stream: BinaryIO, facts: Facts, budget: Budget) -> None:
        with av.open(stream, mode="r", format=name, **texts) as container:
            facts["format"] = name
            _frames(container, facts, budget)

    return decode


def _frames(container: InputContainer, facts: Facts, budget: Budget) -> None:
    video, audio = next(iter(container.streams.video), None), next(iter(container.streams.audio), None)
    streams = [stream for stream in (video, audio) if stream is not None]
    if not streams:
        raise ValueError("there is neither picture nor sound in it")
    _announced(container, video, audio, facts)
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    for stream in streams:
        stream.codec_context.thread_count = 1
    for packet in container.demux(streams):
        counts[packet.stream_index] += len(packet.decode())
        if budget.is_over:
            facts["complete"] = False
            break
    if video is not None:
        facts["frames"] = counts[video.index]
    if facts.get("complete", True):
        _check_whole(counts, video)


def _announced(container: InputContainer, video: VideoStream | None, audio: AudioStream | None, facts: Facts) -> None:
    if video is not None:
        facts |= {"width": video.width, "height": video.height, "codec": video.codec_context.name}
        if video.average_rate:
            facts["fps"] = _plain(float(video.average_rate))
    if audio is not None:
        context = audio.codec_context
        facts["audio"] = {"codec": context.name, "sample_rate": context.sample_rate, "channels": context.channels}
    if container.duration:
        facts["duration_s"] = _plain(container.duration / 1_000_000)


def _check_whole(counts: dict[int, int], video: VideoStream | None) -> None:
    # Decoders go on where something is missing, and say nothing of it.
    if video is not None and counts[video.index] < max(1, video.frames):
        raise ValueError(f"{counts[video.index]} of {max(1, video.frames)} frames could be had")
    if not any(counts.values()):
        raise ValueError("no sound could be had")


def _plain(number: float) -> float | None:
    return round(number, 6) if math.isfinite(number) else None


def look(stream: BinaryIO, content_type: str, memory_bytes: int, cpu_s: int, budget_s: float) -> Facts:
    """Confine this process, then decode what the stream holds and tell what it is."""
    confine(memory_bytes, cpu_s)
    facts: Facts = {"decoded": False}
    try:
        decode = prepare(content_type)
        if decode is None:
            return facts | {"problem": f"could not be decoded: there is no decoder for {content_type} here"}
        close_the_door()
        stream.seek(0)
        decode(stream, facts, Budget(budget_s))
        facts["decoded"] = True
    except MemoryError:
        facts["problem"] = (
            f"could not be decoded: that takes more than the {memory_bytes // 1024**2} MiB of memory that there are"
        )
    # Whatever a decoder raises is about the file; that it was raised is the answer.
    except Exception as error:
        facts["problem"] = f"could not be decoded: {type(error).__name__}: {_said(error, stream)}"
    return facts


def _said(error: Exception, stream: BinaryIO) -> str:
    return str(error).replace(f" {stream!r}", " it")[:500]


def main() -> int:
    """Decode standard input; returns the exit code."""
    parent, content_type, memory_bytes, cpu_s, budget_s = sys.argv[1:]
    confinement.end_with(int(parent))
    with os.fdopen(0, "rb", closefd=False) as stream:
        facts = look(stream, content_type, int(memory_bytes), int(cpu_s), float(budget_s))
    # Sent at once and left at once: what a decoder has yet to tidy up is of no use to anybody.
    os.write(1, json.dumps(facts).encode())
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
