# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that save, are killed, and send again with the same keys. What they were answered is what is checked.

Of the backend alone, so that it also runs on machines that have nothing else.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3
from noslop_backend.core.errors import (
    BackendError,
    DatabaseUnavailableError,
    InProgressError,
    InspectionUnfinishedError,
    LeaseLostError,
    ShareUnavailableError,
)
from noslop_backend.schemas import FilePublic, ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind

from tests.backend.studio import png

#: What a client answers by sending it again with its key.
AGAIN = (
    *(InProgressError, LeaseLostError, ShareUnavailableError, DatabaseUnavailableError),
    # A machine that is emulated reads a picture in more than the 15 s that it has, now and then.
    InspectionUnfinishedError,
)


@dataclass(frozen=True)
class Work:
    """What is to be saved, and by how many writers in all, on whatever machines."""

    projects: list[str]
    operations: int
    writers: int
    #: The largest intermediate; the sizes of others lie below.
    largest_bytes: int = 4
    #: How many of its answers a writer asks for again after it was killed; None for all.
    repeated: int | None = None

    def numbers(self, writer: int) -> list[int]:
        """What one writer sends. Each request is sent by two: whoever is first, both get one answer."""
        of = self.writers
        return [n for n in range(self.operations) if of - 1 and writer in {n % of, (n // 3 + 1) % of}]


@dataclass(frozen=True)
class Acknowledged:
    """One answer, as it was written down before the next request was sent."""

    number: int
    id: str
    project: str
    path: str
    version: int | None
    blake3: str
    size_bytes: int


def make_projects(storage: ProjectStorage) -> list[str]:
    """Make the projects that all write to; gives their ids."""
    return [storage.create_project_structure(ProjectCreate(name=f"p{n}")).id for n in range(2)]


def request(storage: ProjectStorage, work: Work, number: int) -> FilePublic:
    """Send one request, which is the same each time it is sent."""
    project, key = work.projects[number % len(work.projects)], f"key-{number}"
    kind = number % 3
    if kind == 0:
        return storage.save_workflow(project, f"w{number % 4}", {"n": number}, key=key)
    if kind == 1:
        return storage.save_generated_media(project, "same.png", iter([png(number)]), key=key)
    return storage.save_intermediate(project, FileKind.FRAME, "same", frame(work, number), key=key)


def frame(work: Work, number: int) -> bytes:
    """The content of an intermediate: another one for each number, of another size too."""
    size = 4 + number * 7919 % max(1, work.largest_bytes - 3)
    return number.to_bytes(4, "big") + blake3(number.to_bytes(4, "big")).digest(size - 4)


def supervise(
    opened: Callable[[], ProjectStorage], work: Work, writers: Iterable[int], logs: Path, *, kills: int, seed: int
) -> int:
    """Let writers run until each has every answer; kill one now and then, and start it again.

    Args:
        opened: makes the service of a writer, in its own process.
        work: what all writers do, here and elsewhere.
        writers: which of them run here.
        logs: directory for what they write down, a file each.
        kills: how many to kill, spread over the work.
        seed: of the choice.

    Returns:
        How many were killed.
    """
    dice = random.Random(seed)  # noqa: S311 - chance, not secrets
    logs.mkdir(exist_ok=True)
    here = list(writers)
    expected = sum(len(work.numbers(writer)) for writer in here)
    running = {_start(opened, work, writer, logs): writer for writer in here}
    killed, progress = 0, Progress(logs)
    while running:
        if killed < kills and progress.count() >= (killed + 1) * expected // (kills + 1):
            os.kill(dice.choice(list(running)), signal.SIGKILL)
            killed += 1
        # Only these: whoever runs this may have children of its own.
        ended = ((child, os.waitpid(child, os.WNOHANG)) for child in list(running))
        child, status = next(((child, status) for child, (found, status) in ended if found), (0, 0))
        if not child:
            # Nothing to wait on but many processes and their logs at once.
            time.sleep(0.02)
            continue
        writer = running.pop(child)
        if os.WIFSIGNALED(status):
            running[_start(opened, work, writer, logs)] = writer
        else:
            assert os.WEXITSTATUS(status) == 0, _error(logs, writer).read_text()
    return killed


@dataclass
class Progress:
    """How many answers are written down. Each is read once: there are many, and it is asked for again and again."""

    logs: Path
    answers: int = 0
    read_bytes: dict[Path, int] = field(default_factory=dict)

    def count(self) -> int:
        """Look again."""
        for log in self.logs.glob("*.log"):
            with log.open("rb") as stream:
                stream.seek(self.read_bytes.get(log, 0))
                more = stream.read()
            self.read_bytes[log] = self.read_bytes.get(log, 0) + len(more)
            self.answers += more.count(b"\n")
        return self.answers


def acknowledged(logs: Iterable[str]) -> dict[int, Acknowledged]:
    """Read what writers wrote down; asserts that every answer to one request is the same."""
    found: dict[int, Acknowledged] = {}
    for log in logs:
        for line in log.splitlines():
            answer = Acknowledged(**json.loads(line))
            assert found.setdefault(answer.number, answer) == answer, f"key {answer.number} has two results"
    return found


def _log(logs: Path, writer: int) -> Path:
    return logs / f"{writer}.log"


def _error(logs: Path, writer: int) -> Path:
    return logs / f"{writer}.error"


def _start(opened: Callable[[], ProjectStorage], work: Work, writer: int, logs: Path) -> int:
    parent, child = os.getpid(), os.fork()
    if child == 0:
        status = 2
        try:
            _write(opened(), work, writer, _log(logs, writer), parent)
            status = 0
        except BaseException as error:
            kind = "refused" if isinstance(error, BackendError) else "failed"
            _error(logs, writer).write_text(f"writer {writer} {kind}: {error!r}\n")
        finally:
            os._exit(status)
    return child


def _write(storage: ProjectStorage, work: Work, writer: int, log: Path, parent: int) -> None:
    """Send requests in turn until each is answered, and write each answer down before the next."""
    numbers = work.numbers(writer)
    if work.repeated is not None and log.exists():
        numbers = numbers[max(0, _answered(numbers, log) - work.repeated) :]
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in numbers:
        answer = _insist(storage, work, number, parent)
        line = {
            "number": number,
            "id": answer.id,
            "project": answer.project_id,
            "path": answer.path,
            "version": answer.version,
            "blake3": answer.blake3,
            "size_bytes": answer.size_bytes,
        }
        os.write(said, json.dumps(line).encode() + b"\n")
        os.fsync(said)


def _insist(storage: ProjectStorage, work: Work, number: int, parent: int) -> FilePublic:
    while True:
        try:
            return request(storage, work, number)
        except AGAIN as error:
            # Nobody waits for one whose run was ended.
            if os.getppid() != parent:
                raise
            # As an impatient client does: not at once, and not later than it was told.
            time.sleep(min(1.0, float(error.details.get("retry_after_s", 0.05))))


def _answered(numbers: list[int], log: Path) -> int:
    """How many of its requests, in their order, a writer has had answers to."""
    lines = log.read_text().splitlines()
    return numbers.index(json.loads(lines[-1])["number"]) + 1 if lines else 0
