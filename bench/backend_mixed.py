"""Saves of workflows over HTTP while sixteen clients read: what the readers cost the writers, and what they get.

Turns with and without the readers alternate. Any answer that is not one of success ends the benchmark: neither side
may see a database that is locked.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from noslop_backend.schemas import ProjectCreate

from bench.backend_common import Client, Rounds, Server, parser, percentiles_ms, serving, studio, tell
from bench.workflows import workflow

READERS = 16


@dataclass
class FileContent:
    """How long each request of a kind took, and how long requests were made at all."""

    seconds_each: list[float] = field(default_factory=list)
    turns_s: float = 0.0

    def rate(self) -> float:
        """Requests a second."""
        return round(len(self.seconds_each) / self.turns_s, 1)


class Load:
    """Writers, and readers beside them."""

    def __init__(self, server: Server, project_id: str, saves: int, writers: int) -> None:
        self._server = server
        self._path = f"/api/v1/projects/{project_id}"
        self._saves = saves
        self._writers = writers
        self._turn = 0
        self.saves = {0: FileContent(), READERS: FileContent()}
        self.reads = FileContent()

    def turn(self, readers: int) -> float:
        """Let the writers save, beside so many readers; gives saves a second."""
        self._turn += 1
        over = threading.Event()
        with ThreadPoolExecutor(self._writers + readers) as pool:
            start = time.perf_counter()
            writing = [pool.submit(self._write, number, self.saves[readers]) for number in range(self._writers)]
            reading = [pool.submit(self._read, number, over) for number in range(readers)]
            try:
                done = sum(each.result() for each in writing)
                took = time.perf_counter() - start
            finally:
                over.set()
            for each in reading:
                each.result()
        self.saves[readers].turns_s += took
        if readers:
            self.reads.turns_s += took
        return done / took

    def _write(self, writer: int, seen: FileContent) -> int:
        each = self._saves // self._writers
        with Client(self._server) as client:
            for number in range(each):
                body = workflow((self._turn * self._writers + writer) * each + number)
                start = time.perf_counter()
                client.send("POST", f"{self._path}/workflows?name=workflow-{writer}", [body], length=len(body))
                seen.seconds_each.append(time.perf_counter() - start)
        return each

    def _read(self, reader: int, over: threading.Event) -> None:
        paths = [self._path, f"{self._path}/stats", f"{self._path}/files?limit=20"]
        with Client(self._server) as client:
            while not over.is_set():
                start = time.perf_counter()
                client.send("GET", paths[reader % len(paths)])
                self.reads.seconds_each.append(time.perf_counter() - start)


def main() -> int:
    """Measure, and print one JSON object."""
    takes = parser(__doc__, rounds=5)
    takes.add_argument("--saves", type=int, default=200, help="a turn (%(default)s; with --full 1000)")
    takes.add_argument("--writers", type=int, default=4, help="that save at once, each a workflow (%(default)s)")
    given = takes.parse_args()
    with ExitStack() as stack:
        made = stack.enter_context(studio(given.directory))
        project_id = made.storage.create_project_structure(ProjectCreate(name="Bench")).id
        server = stack.enter_context(serving(made))
        load = Load(server, project_id, 1000 if given.full else given.saves, given.writers)
        rounds = Rounds.of({"alone": lambda: load.turn(0), "with_readers": lambda: load.turn(READERS)}, given.rounds)
        alone, beside = load.saves[0], load.saves[READERS]
        versions = made.storage.get_storage_stats(project_id).kinds
        saved = sum(each.files_count for each in versions if each.kind == "workflow")
        assert saved == len(alone.seconds_each) + len(beside.seconds_each), (saved, versions)
        return tell(
            "backend_mixed",
            rounds=given.rounds,
            writers=given.writers,
            readers=READERS,
            saves_per_second={name: rounds.median(name, 1) for name in ("alone", "with_readers")},
            with_readers_over_alone=rounds.ratio("with_readers", "alone"),
            reads_per_second=load.reads.rate(),
            latency_ms={
                "save_alone": percentiles_ms(alone.seconds_each),
                "save_with_readers": percentiles_ms(beside.seconds_each),
                "read": percentiles_ms(load.reads.seconds_each),
            },
        )


if __name__ == "__main__":
    raise SystemExit(main())
