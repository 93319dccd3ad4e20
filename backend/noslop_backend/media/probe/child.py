# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read one file in a process that can do nothing else: forked by `fork_server.py` for this file, and then it ends.

First it gives up everything that it does not need: memory beyond its share, processor time, further processes and
threads, files to write to, and the right to open anything: with a limit of 0 descriptors no file, no socket and no pipe
can be opened any more, and the kernel refuses every system call that decoding does not need (`seccomp.py`). Only then
it reads the file. It writes a line of JSON with the texts, one with their fields, one with what the file is, and ends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
from collections.abc import Callable
from typing import Any, BinaryIO

from noslop_backend.core import confinement
from noslop_backend.media.probe import images, seccomp, streams
from noslop_backend.media.probe.formats import FFMPEG, PILLOW, SAFETENSORS
from noslop_backend.media.probe.protocol import Job
from noslop_backend.media.tags import fields, safetensors
from noslop_backend.media.tags.limits import READ_LIMIT_BYTES, Budget, BudgetExceededError, Texts, metered

Facts = dict[str, Any]


class SafetensorsFile:
    """A file of tensors that is read: it has texts, and no picture or sound."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read_texts(self, texts: Texts) -> None:
        """Collect the texts of the header.

        Raises:
            BudgetExceededError, ValueError: as `safetensors.read`.
        """
        safetensors.read(self._stream, texts)

    def read_size(self, facts: Facts) -> None:
        """Read nothing more."""
        facts["format"] = "safetensors"

    decode = read_size


def confine(memory_bytes: int, cpu_s: int) -> None:
    """Limit memory, processor time, files and processes of this process, and close its memory to its account."""
    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (most, most))
    # SIGXCPU at the first, SIGKILL at the second.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    # Another child, of another file, has the same account.
    confinement.protect_memory()


def close_the_door() -> None:
    """Let this process open nothing, and reach nothing else, from now on. What is open stays so."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    seccomp.allow_only_decoding()


def read_file(stream: BinaryIO, job: Job, write_line: Callable[[dict[str, Any]], None]) -> None:
    """Confine this process, then read the stream, and write lines: its texts, their fields, and what it is."""
    confine(job.memory_bytes, job.cpu_s)
    texts = Texts()
    facts: Facts = {"decoded": False}
    close_the_door()
    budget = Budget(job.budget_s, READ_LIMIT_BYTES)
    # Whatever a decoder raises is about the file, and is the answer.
    try:
        counted = metered(stream, budget)
        reader = _reader(counted, job.content_type, budget)
        if reader is None:
            raise NotImplementedError(f"there is no decoder for {job.content_type} here")
        exceeded = _read_texts(reader, texts, counted, job)
        write_line({"texts": texts.kept, "left_out": [dataclasses.asdict(one) for one in texts.left_out]})
        if not job.decode:
            write_line({"fields": dataclasses.asdict(fields.from_texts(texts.kept))})
        if job.decode:
            budget.lift_read_limit()
            reader.decode(facts)
            facts["decoded"] = True
        elif exceeded is not None:
            raise exceeded
        else:
            reader.read_size(facts)
    except Exception as error:
        facts["problem"] = f"could not be {'decoded' if job.decode else 'read'}: {_reason(error, job, stream)}"
    write_line({"facts": facts})


def _reader(
    stream: BinaryIO, content_type: str, budget: Budget
) -> images.ImageFile | streams.StreamFile | SafetensorsFile | None:
    if content_type in PILLOW:
        return images.ImageFile(stream, PILLOW[content_type], budget)
    if content_type in FFMPEG:
        return streams.StreamFile(stream, FFMPEG[content_type], content_type, budget)
    return SafetensorsFile(stream) if content_type == SAFETENSORS else None


def _read_texts(
    reader: images.ImageFile | streams.StreamFile | SafetensorsFile, texts: Texts, stream: BinaryIO, job: Job
) -> BudgetExceededError | None:
    """Collect the texts. Return what ended that early, where it was the budget: then nothing else is tried."""
    # What was collected before stays.
    try:
        reader.read_texts(texts)
    except Exception as error:
        texts.drop("", 0, f"further texts could not be read: {_reason(error, job, stream)}")
        return error if isinstance(error, BudgetExceededError) else None
    return None


def _reason(error: Exception, job: Job, stream: object) -> str:
    if isinstance(error, MemoryError):
        return f"that takes more than the {job.memory_bytes // 1024**2} MiB of memory that there are"
    if isinstance(error, NotImplementedError | BudgetExceededError):
        return str(error)
    return f"{type(error).__name__}: {str(error).replace(f' {stream!r}', ' it')[:500]}"


def write_line(answer: dict[str, Any]) -> None:
    """Write a line of JSON to standard output."""
    left = memoryview(json.dumps(answer).encode() + b"\n")
    while left:
        left = left[os.write(1, left) :]
