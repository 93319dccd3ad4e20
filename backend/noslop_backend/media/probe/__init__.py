# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read media in a child process that may use little and can reach nothing: their texts, and what they contain.

Decoders are large, and media come from outside. A bomb, a hang or a crash costs the child its life and the file its
facts; it never costs the service anything. Only `images.py` and `streams.py` import decoders, in the fork server.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, BinaryIO

from noslop_backend.media import tags
from noslop_backend.media.facts import Facts, read_fields
from noslop_backend.media.probe.formats import FFMPEG, PILLOW, SAFETENSORS
from noslop_backend.media.probe.launcher import LAUNCHER, Answer
from noslop_backend.media.probe.protocol import Job
from noslop_backend.media.tags import png, safetensors
from noslop_backend.media.tags.fields import Fields
from noslop_backend.media.tags.limits import LeftOutText

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What one child gets: address space in bytes, processor time, and time on the wall since its start, in seconds.

    After `budget_s` of processor time it stops at the next frame, and tells what it has read by then.
    """

    memory_bytes: int = 2048 * MIB
    cpu_s: int = 60
    budget_s: float = 30.0
    wall_s: float = 120.0


#: For `inspect`, which reads headers: less than the 25 s after which a request stops waiting for the share.
INSPECTION = Limits(cpu_s=6, budget_s=3.0, wall_s=15.0)
#: The same where no request waits.
PATIENT_INSPECTION = replace(INSPECTION, wall_s=120.0)


@dataclass(frozen=True)
class Inspection:
    """What a file says of itself, from one child. What it does not say is None, or empty."""

    #: The type, corrected where the tracks say otherwise: an MP4 without a picture is `audio/mp4`.
    content_type: str
    facts: Facts = field(default_factory=Facts)
    #: Texts that programs embedded, by key, as they stand in the file.
    texts: dict[str, str] = field(default_factory=dict)
    #: The same of these texts, whatever program wrote them.
    fields: Fields = field(default_factory=Fields)
    #: Texts that are not in `texts`, and why.
    left_out: tuple[LeftOutText, ...] = ()
    #: A sentence that says why it could not be read; empty where it could.
    problem: str = ""
    #: The same where its texts were not reached, and another attempt may reach them: it was the host, and not the file.
    unread: str = ""

    @property
    def embedded(self) -> dict[str, Any]:
        """Return the texts with JSON among them parsed, and below `tags.LEFT_OUT` what is left out, if anything is."""
        texts = {key: tags.parse(text) for key, text in self.texts.items()}
        return texts | ({tags.LEFT_OUT: [asdict(one) for one in self.left_out]} if self.left_out else {})


@dataclass(frozen=True)
class _Report:
    """The lines of a child, or `problem`: why there are none."""

    #: None where the child did not get so far.
    texts: dict[str, str] | None = None
    left_out: tuple[LeftOutText, ...] = ()
    fields: Fields = field(default_factory=Fields)
    facts: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    #: Another attempt may end otherwise: the time was over, or another process ended the child.
    is_transient: bool = False


def skip(content_type: str) -> Inspection:
    """Return the inspection of a file that is not read, because the request says so."""
    return Inspection(content_type, left_out=(LeftOutText("", 0, "it was not read: the request said inspect=false"),))


def inspect(stream: BinaryIO, content_type: str, limits: Limits | None = None) -> Inspection:
    """Read the texts that a file embeds, its size, duration and number of frames, without decoding all of it.

    Args:
        stream: the file, open for reading as an ordinary file. Its offset afterwards is undefined.
        content_type: what its first bytes say that it is, as in `media.types`.
        limits: what the child gets, by default `INSPECTION`.

    Returns:
        An inspection; `problem`, `unread` and `left_out` say what could not be read. A type that nothing here reads is
        empty.
    """
    if content_type == "image/png" and (size := png.plain_size(stream)) is not None:
        # Most pictures that are uploaded: there is nothing to read, so no child is asked.
        return Inspection(content_type, Facts(*size, frames=1))
    if not _is_read(stream, content_type):
        return Inspection(content_type)
    report = _ask(stream, content_type, limits or INSPECTION, decode=False, alive=lambda: None)
    facts = report.facts
    left_out = report.left_out
    if report.problem and report.texts is None:
        left_out = (*left_out, LeftOutText("", 0, report.problem))
    return Inspection(
        content_type=_text(facts.get("content_type")) or content_type,
        facts=Facts(
            width=_count(facts.get("width")),
            height=_count(facts.get("height")),
            duration_s=_seconds(facts.get("duration_s")),
            frames=_count(facts.get("frames")),
        ),
        texts=report.texts or {},
        fields=report.fields,
        left_out=left_out,
        problem=report.problem or _text(facts.get("problem")),
        unread=report.problem if report.texts is None and report.is_transient else "",
    )


def _is_read(stream: BinaryIO, content_type: str) -> bool:
    if content_type == SAFETENSORS:
        stream.seek(0)
        return safetensors.is_safetensors(stream.read(9))
    return content_type in PILLOW or content_type in FFMPEG


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**63 else None


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 2**63 else None


def facts(
    stream: BinaryIO, content_type: str, limits: Limits | None = None, alive: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Decode an image, a video or audio, and return what it is.

    Args:
        stream: the file, open for reading as an ordinary file. Its offset afterwards is undefined.
        content_type: what its first bytes say that it is, as in `media.types`.
        limits: what the child gets.
        alive: called every second or so; what it raises ends the child and is raised here.

    Returns:
        `decoded` (bool) always. As far as they were read: `format`, `width` and `height` in pixels, `frames`,
        `duration_s`, `fps`, `codec`, `audio` (`codec`, `sample_rate`, `channels`), `complete` (False: the time was
        over before the end), and `problem`, a sentence that says why it could not be decoded, or not all of it.
    """
    report = _ask(stream, content_type, limits or Limits(), decode=True, alive=alive)
    if report.problem:
        return {"decoded": False, "problem": report.problem}
    return {name: value for name, value in report.facts.items() if name != "content_type"}


def _ask(stream: BinaryIO, content_type: str, limits: Limits, *, decode: bool, alive: Callable[[], None]) -> _Report:
    job = Job(content_type, limits.memory_bytes, limits.cpu_s, limits.budget_s, decode=decode)
    answer = LAUNCHER.ask(job, stream.fileno(), limits.wall_s, alive)
    report = _parse(answer.content)
    problem, done, doing = "", *(("decoded", "decoding") if decode else ("read", "reading"))
    if answer.status is None:
        problem = f"could not be {done}: {doing} it did not end within {limits.wall_s:g} s"
    elif answer.status or not isinstance(report.facts.get("decoded"), bool):
        problem = f"could not be {done}: {_reason(answer, limits)}"
    # Memory that is scarce ends children by SIGKILL; a file that is too large for its child ends it by itself.
    return replace(report, problem=problem, is_transient=answer.status in {None, signal.SIGKILL})


def _parse(content: bytes) -> _Report:
    """Read the lines of a child. A line that is not whole, or not what a child writes, is none."""
    report = _Report()
    for line in content.split(b"\n")[:3]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(answer, dict):
            continue
        if isinstance(answer.get("facts"), dict):
            report = replace(report, facts=answer["facts"])
        if isinstance(answer.get("texts"), dict) and isinstance(answer.get("left_out"), list):
            texts = {key: text for key, text in answer["texts"].items() if isinstance(text, str)}
            left_out = tuple(_left_out(one) for one in answer["left_out"] if isinstance(one, dict))
            report = replace(report, texts=texts, left_out=left_out)
        if "fields" in answer:
            report = replace(report, fields=read_fields(answer["fields"]))
    return report


def _left_out(value: dict[str, Any]) -> LeftOutText:
    return LeftOutText(_text(value.get("key")), _count(value.get("bytes")) or 0, _text(value.get("why")))


def _reason(answer: Answer, limits: Limits) -> str:
    code = os.waitstatus_to_exitcode(answer.status) if answer.status is not None and answer.status >= 0 else 1
    if code == -signal.SIGXCPU:
        return f"decoding it took more than {limits.cpu_s} s of processor time"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"the decoder crashed ({name})"
    return f"the decoder gave no usable answer (it ended with {code})"
