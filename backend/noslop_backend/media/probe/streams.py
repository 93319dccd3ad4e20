# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read video and audio with FFmpeg, by PyAV. Only the child and its fork server import this: it loads decoders."""

from __future__ import annotations

import importlib
import math
import pkgutil
from typing import TYPE_CHECKING, Any, BinaryIO

import av
import av.logging

from noslop_backend.media.probe.formats import WITHOUT_VIDEO
from noslop_backend.media.tags.limits import Budget, BudgetExceededError, Texts

if TYPE_CHECKING:
    from av import AudioStream, VideoStream
    from av.container import InputContainer

Facts = dict[str, Any]
#: A command, and downloads.
_NOT_NEEDED = {"av.__main__", "av.datasets"}
#: Tags that FFmpeg makes of the container itself: they are no texts of a program.
_TECHNICAL = frozenset({
    *("major_brand", "minor_version", "compatible_brands", "language", "handler_name", "vendor_id", "duration"),
})  # fmt: skip
#: A still picture that belongs to sound (AV_DISPOSITION_ATTACHED_PIC).
_ATTACHED_PICTURE = 0x400


def prepare() -> None:
    """Load all of PyAV: some modules are otherwise imported when a stream needs them, and then nothing opens."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in _NOT_NEEDED:
            importlib.import_module(module.name)
    av.logging.set_level(None)


class StreamFile:
    """A container of video and audio that is read: its texts first, then what it is."""

    def __init__(self, stream: BinaryIO, name: str, content_type: str, budget: Budget) -> None:
        self._stream = stream
        self._name = name
        self._content_type = content_type
        self._budget = budget
        self._opened: InputContainer | None = None

    def _container(self) -> InputContainer:
        if self._opened is None:
            # Texts that are no UTF-8 are no error here. From version 19 on that is PyAV's own way, without an option.
            is_old = int(av.__version__.split(".")[0]) < 19
            options: dict[str, Any] = {"metadata_errors": "replace"} if is_old else {}
            self._stream.seek(0)
            self._opened = av.open(self._stream, mode="r", format=self._name, **options)
        return self._opened

    def read_texts(self, texts: Texts) -> None:
        """Collect the tags of the container and of its streams, by their names in small letters.

        Raises:
            Exception: whatever PyAV raises for a file that it cannot read.
        """
        container = self._container()
        for metadata in (container.metadata, *(stream.metadata for stream in container.streams)):
            for key, text in metadata.items():
                if key.lower() not in _TECHNICAL:
                    texts.add(key.lower(), text)

    def read_size(self, facts: Facts) -> None:
        """Read size, duration and codecs as the headers declare them, and count the frames without decoding them.

        Raises:
            Exception: whatever PyAV raises for a file that it cannot read.
        """
        container = self._container()
        video, _ = self._declared(container, facts)
        if video is not None and video.frames:
            facts["frames"] = video.frames
        elif video is not None and self._name != "exr_pipe":
            self._count_packets(container, video, facts)

    @staticmethod
    def _count_packets(container: InputContainer, video: VideoStream, facts: Facts) -> None:
        count = 0
        try:
            for packet in container.demux(video):
                count += packet.size > 0
        except BudgetExceededError:
            # A large file whose header does not say: then `frames` stays unsaid.
            return
        facts["frames"] = count

    def decode(self, facts: Facts) -> None:
        """Decode each frame of the first picture and the first sound.

        Raises:
            ValueError: there is nothing to decode, or not all of it is there.
            Exception: whatever PyAV raises for a file that is damaged.
        """
        container = self._container()
        streams = [stream for stream in self._declared(container, facts) if stream is not None]
        counts = dict.fromkeys((stream.index for stream in streams), 0)
        for stream in streams:
            stream.codec_context.thread_count = 1
        for packet in container.demux(streams):
            counts[packet.stream_index] += len(packet.decode())
            if self._budget.is_over:
                facts["complete"] = False
                break
        video = next(iter(container.streams.video), None)
        if video is not None:
            facts["frames"] = counts[video.index]
        if facts.get("complete", True):
            _check_whole(counts, video)

    def _declared(self, container: InputContainer, facts: Facts) -> tuple[VideoStream | None, AudioStream | None]:
        video, audio = next(iter(container.streams.video), None), next(iter(container.streams.audio), None)
        facts["format"] = self._name
        if video is None and audio is None:
            raise ValueError("there is neither picture nor sound in it")
        if video is None or int(video.disposition) & _ATTACHED_PICTURE:
            facts["content_type"] = WITHOUT_VIDEO.get(self._content_type, self._content_type)
        if video is not None:
            facts |= {"width": video.width, "height": video.height, "codec": video.codec_context.name}
            if video.average_rate:
                facts["fps"] = _finite(float(video.average_rate))
        if audio is not None:
            context = audio.codec_context
            facts["audio"] = {"codec": context.name, "sample_rate": context.sample_rate, "channels": context.channels}
        if container.duration:
            facts["duration_s"] = _finite(container.duration / 1_000_000)
        return video, audio


def _check_whole(counts: dict[int, int], video: VideoStream | None) -> None:
    # Decoders continue where something is missing, and report nothing.
    if video is not None and counts[video.index] < max(1, video.frames):
        raise ValueError(f"{counts[video.index]} of {max(1, video.frames)} frames could be had")
    if not any(counts.values()):
        raise ValueError("no sound could be had")


def _finite(number: float) -> float | None:
    return round(number, 6) if math.isfinite(number) else None
