"""Saves of a member alone, and beside what a stranger and a stolen token can do: what is left of them, and the memory.

All of it comes from loopback, from which the member comes too: nothing tells them apart but a token. The load is a
process of its own, and ends with each turn:

- connections that say nothing, and are made again a second after the server ended them
- bodies that drip, half of them without a token and half with a token of their own
- workflows of 60 MiB of `[],`, and of as much of it as a document may have, with that token
- clients without a token that ask for nothing, for the health and for the description, as fast as they are answered
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import selectors
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.synchronize import Event

from noslop_backend.core.enums import TokenScope
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services.tokens import Tokens

from bench.backend_common import MIB, Client, Rounds, Server, parser, serving, studio, tell
from bench.workflows import workflow

#: The unit of the backend has more; the server is to stay far below.
MEMORY_LIMIT_MIB = 1024
#: A connection that the server ended is made again after this time: a flood of them is the firewall's to stop.
_AGAIN_S = 1.0


@dataclass(frozen=True)
class Load:
    """How much of everything, against which server."""

    port: int
    path: str
    token: str
    silent: int
    slow: int
    anonymous: int
    large_bytes: tuple[int, ...]

    def head(self, method: str, path: str, length: int, token: str) -> bytes:
        """The head of a request."""
        shown = f"Authorization: Bearer {token}\r\n" if token else ""
        announced = f"Content-Length: {length}\r\n" if length else ""
        return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{shown}{announced}\r\n".encode()

    def drip(self, first: list[bytes], over: Event) -> None:
        """Keep as many connections open as there are first words, and send a byte a second on those that have any."""
        with selectors.DefaultSelector() as selector:
            waiting = [(0.0, words) for words in first]
            dripped_at = time.monotonic()
            while not over.is_set():
                now = time.monotonic()
                due = [entry for entry in waiting if entry[0] <= now]
                waiting = [entry for entry in waiting if entry[0] > now]
                for _, words in due:
                    with contextlib.suppress(OSError):
                        made = socket.create_connection(("127.0.0.1", self.port))
                        made.sendall(words)
                        made.setblocking(False)
                        selector.register(made, selectors.EVENT_READ, words)
                for key, _ in selector.select(0.05):
                    connection: socket.socket = key.fileobj  # type: ignore[assignment]
                    try:
                        if connection.recv(65536):
                            continue
                    except OSError:
                        pass
                    selector.unregister(connection)
                    connection.close()
                    waiting.append((now + _AGAIN_S, key.data))
                if now - dripped_at >= 1:
                    dripped_at = now
                    for key in list(selector.get_map().values()):
                        if key.data:
                            with contextlib.suppress(OSError):
                                key.fileobj.send(b"x")  # type: ignore[union-attr]
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    def ask(self, path: str, over: Event) -> None:
        """Ask without a token, again and again."""
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as made:
                while not over.is_set():
                    made.sendall(self.head("GET", path, 0, ""))
                    if not made.recv(1 << 20):
                        break
            over.wait(0.02)

    def send_large(self, size: int, over: Event) -> None:
        """Send workflows that would become enormous, again and again."""
        body = b"[" + b"[]," * (size // 3) + b"[]]"
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=30) as made:
                made.sendall(self.head("POST", f"{self.path}/workflows?name=large", len(body), self.token))
                with contextlib.suppress(OSError):
                    made.sendall(body)
                made.recv(65536)
            over.wait(_AGAIN_S)

    def run(self, over: Event) -> None:
        """Do all of it until the end of the turn."""
        slow = [
            self.head("POST", f"{self.path}/workflows?name=slow", 1_000_000, self.token if number % 2 else "")
            for number in range(self.slow)
        ]
        asked = [f"/api/v1/{name}" for name in ("nowhere", "health", "openapi.json")]
        work = [
            *(lambda: self.drip([b""] * self.silent, over), lambda: self.drip(slow, over)),
            *(lambda path=path: self.ask(path, over) for path in (asked * self.anonymous)[: self.anonymous]),
            *(lambda size=size: self.send_large(size, over) for size in self.large_bytes),
        ]
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Member:
    """Who saves workflows, by several clients at once, for a time."""

    def __init__(self, server: Server, path: str, writers: int, seconds: float) -> None:
        self._server = server
        self._path = path
        self._writers = writers
        self._seconds = seconds
        self._numbers = itertools.count()
        self.saves = 0

    def turn(self) -> float:
        """Save until the time is over; gives saves a second."""
        start = time.perf_counter()
        with ThreadPoolExecutor(self._writers) as pool:
            done = sum(pool.map(lambda number: self._write(number, start), range(self._writers)))
        self.saves += done
        return done / (time.perf_counter() - start)

    def _write(self, writer: int, start: float) -> int:
        done = 0
        with Client(self._server) as client:
            while time.perf_counter() - start < self._seconds:
                body = workflow(next(self._numbers))
                client.send("POST", f"{self._path}/workflows?name=workflow-{writer}", [body], length=len(body))
                done += 1
        return done


def main() -> int:
    """Measure, and print one JSON object."""
    takes = parser(__doc__, rounds=3)
    takes.add_argument("--seconds", type=float, default=10, help="a turn (%(default)s; with --full 30)")
    takes.add_argument("--writers", type=int, default=4, help="that save at once, each a workflow (%(default)s)")
    takes.add_argument("--silent", type=int, default=1000, help="connections that say nothing (%(default)s)")
    takes.add_argument("--slow", type=int, default=200, help="bodies that drip (%(default)s)")
    takes.add_argument("--anonymous", type=int, default=16, help="clients without a token (%(default)s)")
    given = takes.parse_args()
    with ExitStack() as stack:
        made = stack.enter_context(studio(given.directory))
        project_id = made.storage.create_project_structure(ProjectCreate(name="Bench")).id
        stolen = Tokens(made.storage.database).create(f"stolen {uuid.uuid4()}", TokenScope.WRITE, None).text
        server = stack.enter_context(serving(made))
        path = f"/api/v1/projects/{project_id}"
        large = (60 * MIB, made.storage.settings.max_document_bytes - MIB)
        load = Load(server.port, path, stolen, given.silent, given.slow, given.anonymous, large)
        member = Member(server, path, given.writers, 30 if given.full else given.seconds)
        before = server.resident_bytes(peak=True)

        def beside() -> float:
            context = multiprocessing.get_context("spawn")
            over = context.Event()
            attackers = context.Process(target=load.run, args=(over,))
            attackers.start()
            try:
                # Until the load is there.
                time.sleep(1)
                return member.turn()
            finally:
                over.set()
                attackers.join()

        rounds = Rounds.of({"alone": member.turn, "beside_hostile": beside}, given.rounds)
        peak = server.resident_bytes(peak=True)
        kinds = made.storage.get_storage_stats(project_id).kinds
        saved = sum(each.files_count for each in kinds if each.kind == "workflow")
        assert saved == member.saves, (saved, member.saves)
        return tell(
            "backend_hostile",
            rounds=given.rounds,
            load={"silent": given.silent, "slow": given.slow, "anonymous": given.anonymous, "large_bytes": list(large)},
            writers=given.writers,
            saves_per_second={name: rounds.median(name, 1) for name in ("alone", "beside_hostile")},
            beside_hostile_over_alone=rounds.ratio("beside_hostile", "alone"),
            memory_mib={"before": before // MIB, "peak": peak // MIB, "limit": MEMORY_LIMIT_MIB},
        )


if __name__ == "__main__":
    raise SystemExit(main())
