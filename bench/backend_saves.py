"""`save_workflow` against the same commits and syncs done bare: what the service costs beside what the disk does.

The bare side does what `strace` shows of one save, and nothing else: three transactions of `sqlite3` in WAL mode at
synchronous FULL, two files written and synced in a staging directory, two links, two names removed, two directories
synced. Both run in this process, on the same disk. The ratio says how much of a save is the disk's: it is low where
fsync costs next to nothing (`latency_ms.fsync`), and nears 1 on disks that take milliseconds.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from noslop_backend.schemas import ProjectCreate

from bench.backend_common import Rounds, Studio, parser, percentiles_ms, studio, tell
from bench.workflows import workflow


class Bare:
    """The commits, links and syncs of a save."""

    def __init__(self, directory: Path) -> None:
        #: Seconds that each fsync took: what the ratio has to be read beside.
        self.syncs: list[float] = []
        self._staging, self._final = directory / "staging", directory / "final"
        for made in (self._staging, self._final):
            made.mkdir(parents=True)
        self.database = sqlite3.connect(directory / "bare.sqlite3", isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self.database.execute(f"PRAGMA {pragma}")
        self.database.execute("CREATE TABLE intent (id TEXT PRIMARY KEY, state TEXT NOT NULL)")
        self.database.execute("CREATE TABLE file (path TEXT PRIMARY KEY, size INTEGER NOT NULL)")

    def save(self, number: int, body: bytes, sidecar: bytes) -> None:
        """Do what one save does to the database and the disk."""
        name = f"workflow-{number}.json"
        sizes = {name: len(body), f"{name}.meta.json": len(sidecar)}
        self._transaction("INSERT INTO intent VALUES (?, 'open')", [(name,)])
        for each, content in zip(sizes, (body, sidecar), strict=True):
            descriptor = os.open(self._staging / each, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(descriptor, content)
            os.fchmod(descriptor, 0o444)
            self._fsync(descriptor)
            os.close(descriptor)
        self._transaction("UPDATE intent SET state = 'staged' WHERE id = ?", [(name,)])
        for each in sizes:
            os.link(self._staging / each, self._final / each)
        self._sync(self._final)
        for each in sizes:
            os.unlink(self._staging / each)
        self._sync(self._staging)
        self._transaction("INSERT INTO file VALUES (?, ?)", sizes.items())

    def _transaction(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany(statement, rows)
        self.database.execute("COMMIT")

    def _sync(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._fsync(descriptor)
        os.close(descriptor)

    def _fsync(self, descriptor: int) -> None:
        start = time.perf_counter()
        os.fsync(descriptor)
        self.syncs.append(time.perf_counter() - start)


def compare(made: Studio, saves: int, rounds: int) -> int:
    """Let both take turns, and print one JSON object."""
    project_id = made.storage.create_project_structure(ProjectCreate(name="Bench")).id
    numbers = itertools.count()
    took: dict[str, list[float]] = {"save_workflow": [], "bare": []}
    bare = Bare(made.directory / "bare")

    def ours(body: bytes) -> None:
        made.storage.save_workflow(project_id, "A workflow", body)

    # What the first save of a process loads and compiles is no part of the others.
    ours(workflow(next(numbers)))
    latest = max((made.root / project_id / "workflows").glob("*.meta.json"))
    sidecar = latest.read_bytes()

    def side(name: str, save: Callable[[int, bytes], None]) -> Callable[[], float]:
        def turn() -> float:
            before = len(took[name])
            for _ in range(saves):
                number = next(numbers)
                body = workflow(number)
                start = time.perf_counter()
                save(number, body)
                took[name].append(time.perf_counter() - start)
            return saves / sum(took[name][before:])

        return turn

    sides = {
        "save_workflow": side("save_workflow", lambda _number, body: ours(body)),
        "bare": side("bare", lambda number, body: bare.save(number, body, sidecar)),
    }
    seen = Rounds.of(sides, rounds)
    bare.database.close()
    return tell(
        "backend_saves",
        saves=saves,
        rounds=rounds,
        saves_per_second={name: seen.median(name, 1) for name in took},
        save_workflow_over_bare=seen.ratio("save_workflow", "bare"),
        latency_ms={name: percentiles_ms(each) for name, each in (*took.items(), ("fsync", bare.syncs))},
        cpu_ms_per_save={name: round(1000 * seen.cpu_s(name) / saves, 2) for name in took},
    )


def main() -> int:
    """Measure, and print one JSON object."""
    takes = parser(__doc__, rounds=7)
    takes.add_argument("--saves", type=int, default=200, help="a turn (%(default)s; with --full 1000)")
    given = takes.parse_args()
    with studio(given.directory) as made:
        return compare(made, 1000 if given.full else given.saves, given.rounds)


if __name__ == "__main__":
    raise SystemExit(main())
