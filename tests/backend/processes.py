# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes at once, killed at random, their requests repeated with the same keys.

`python -m tests.backend.processes --operations 10000 --processes 8 --database postgresql` is the long form; the tests
do a short one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from noslop_backend import layout
from noslop_backend.errors import BackendError, DatabaseUnavailableError, InProgressError, LeaseLostError
from noslop_backend.layout import FileKind
from noslop_backend.models import IntentModel, ProjectCreate
from noslop_backend.storage import ProjectStorage
from sqlalchemy import update

from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, make_sqlite, make_studio, png


@dataclass
class Outcome:
    """What a run did."""

    operations: int = 0
    kills: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)


def _request(storage: ProjectStorage, projects: list[str], number: int) -> str:
    """One request that is the same each time it is sent. Gives what names its result."""
    project, key = projects[number % len(projects)], f"key-{number}"
    kind = number % 3
    if kind == 0:
        return storage.save_workflow(project, f"w{number % 4}", {"n": number}, key=key).id
    if kind == 1:
        return storage.save_generated_media(project, "same.png", iter([png(number)]), key=key).id
    return storage.save_intermediate(project, FileKind.FRAME, "same", number.to_bytes(4, "big"), key=key).id


def _work(studio: Studio, projects: list[str], numbers: list[int], said: int) -> None:
    """A process: send requests in turn until each is answered, and say so, a line each."""
    try:
        storage = studio.another(lease_s=0.2)
        for number in numbers:
            while True:
                try:
                    answer = _request(storage, projects, number)
                except (InProgressError, LeaseLostError, DatabaseUnavailableError):
                    # What a client is told to send again with the same key.
                    continue
                os.write(said, f"{number} {answer}\n".encode())
                break
        os._exit(0)
    except BackendError as error:
        os.write(said, f"! {error!r}\n".encode())
        os._exit(1)
    finally:
        os._exit(2)


def _start(studio: Studio, projects: list[str], numbers: list[int], log: Path) -> int:
    child = os.fork()
    if child == 0:
        _work(studio, projects, numbers, os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    return child


def run(studio: Studio, operations: int, processes: int, kills: int, seed: int) -> Outcome:
    """Let processes work through requests, each sent by two of them; kill one now and then until all are answered."""
    dice = random.Random(seed)  # noqa: S311 - chance, not secrets
    outcome = Outcome(operations=operations)
    projects = [studio.storage.create_project_structure(ProjectCreate(name=f"p{n}")).id for n in range(2)]
    studio.close()
    logs = [studio.root.parent / f"log{n}" for n in range(processes)]
    # Each request is sent by two processes: whoever is first, both get one answer.
    shares = [
        [n for n in range(operations) if processes - 1 and who in {n % processes, (n // 3 + 1) % processes}]
        for who in range(processes)
    ]
    running = {_start(studio, projects, shares[who], logs[who]): who for who in range(processes)}
    while running:
        if outcome.kills < kills and _progress(logs) >= (outcome.kills + 1) * operations // (kills + 1):
            victim = dice.choice(list(running))
            os.kill(victim, signal.SIGKILL)
            outcome.kills += 1
        # Only these: whoever runs this may have children of its own.
        ended = ((child, os.waitpid(child, os.WNOHANG)) for child in list(running))
        child, status = next(((child, status) for child, (found, status) in ended if found), (0, 0))
        if not child:
            # Nothing to wait on but many processes and their logs at once.
            time.sleep(0.005)
            continue
        who = running.pop(child)
        if os.WIFSIGNALED(status):
            running[_start(studio, projects, shares[who], logs[who])] = who
        else:
            assert os.WEXITSTATUS(status) == 0, logs[who].read_text()[-500:]
    for log in logs:
        for line in log.read_text().splitlines():
            number, answer = line.split(" ", 1)
            assert outcome.acknowledged.setdefault(number, answer) == answer, f"key {number} has two results"
    _check(studio, projects, outcome)
    return outcome


def _progress(logs: list[Path]) -> int:
    return sum(log.read_bytes().count(b"\n") for log in logs if log.exists()) // 2


def _check(studio: Studio, projects: list[str], outcome: Outcome) -> None:
    """One result a key, no number twice, nothing torn, counters right, nothing left over."""
    storage = studio.another()
    with storage.database.write() as session:
        session.exec(update(IntentModel).values(lease_expires_at=IntentModel.created_at))
    report = storage.recover()
    assert report.failed == {}
    assert len(outcome.acknowledged) == outcome.operations
    answers = set(outcome.acknowledged.values())
    assert len(answers) == outcome.operations
    for project in projects:
        studio.check(project)
        assert list((studio.root / project / layout.STAGING).iterdir()) == []
        rows = [row for row in studio.rows(project) if row.kind != FileKind.SIDECAR]
        assert {row.id for row in rows} <= answers
        numbers = [(row.document_id, row.version) for row in rows if row.version is not None]
        assert len(numbers) == len(set(numbers))
        for row in rows:
            if row.kind == FileKind.WORKFLOW:
                json.loads((studio.root / project / row.path).read_bytes())
    found = {row.id for project in projects for row in studio.rows(project) if row.kind != FileKind.SIDECAR}
    assert found == answers


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--directory", type=Path, help="where the share is to lie; a temporary directory by default")
    wanted = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="noslop-many-", dir=wanted.directory)))
        if wanted.database == "postgresql":
            url = stack.enter_context(Cluster.started()).new_database()
        else:
            url = f"sqlite:///{make_sqlite(directory / 'backend.sqlite3')}"
        begun = time.monotonic()
        done = run(make_studio(directory, url), wanted.operations, wanted.processes, wanted.kills, wanted.seed)
        took = time.monotonic() - begun
        answered = len(done.acknowledged)
        print(
            f"{wanted.processes} processes on {wanted.database}: {answered} of {done.operations} operations right, "
            f"{done.kills} of {wanted.kills} kills, {took:.0f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
