"""What the backend's benchmarks share: a studio, a server of its own process, a client, rounds and how they are told.

The sides of a benchmark alternate in every round, so that a busy machine is busy for both; what counts is the median
of the rounds' ratios, and the smallest and largest are told beside it. All is made in one temporary directory, on the
disk that `--directory` names, and removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from noslop_backend import migrations
from noslop_backend.core.enums import TokenScope
from noslop_backend.core.settings import Settings
from noslop_backend.services import ProjectStorage
from noslop_backend.services.tokens import Tokens
from noslop_backend.share import layout

STUDIO = "bench"
MIB = 1024 * 1024
_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def parser(about: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Make the parser of a benchmark, with what all of them take."""
    made = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    made.add_argument("--full", action="store_true", help="the size that the project promises its figures for")
    made.add_argument("--rounds", type=int, default=rounds, help="how often the sides take turns (%(default)s)")
    made.add_argument("--directory", type=Path, help="where everything is made; by default a temporary directory")
    return made


@dataclass
class Studio:
    """A share and a migrated database in a directory, with a service on them."""

    directory: Path
    storage: ProjectStorage
    env_file: Path

    @property
    def root(self) -> Path:
        """The share."""
        return self.storage.settings.project_storage_dir


@contextmanager
def studio(directory: Path | None) -> Iterator[Studio]:
    """Make a studio for one benchmark, on SQLite, and take it away at the end.

    Args:
        directory: below which it is made; None: where temporary files are.
    """
    with tempfile.TemporaryDirectory(prefix="noslop-bench-", dir=directory) as made:
        place = Path(made)
        root = place / "projects"
        root.mkdir()
        marker = {"studio_id": STUDIO, "share": layout.SHARE, "share_id": str(uuid.uuid4())}
        (root / layout.MARKER).write_text(json.dumps(marker))
        named = {
            "NOSLOP_STUDIO_ID": STUDIO,
            "NOSLOP_DATABASE_URL": f"sqlite:///{place}/backend.sqlite3",
            "PROJECT_STORAGE_DIR": str(root),
        }
        env_file = place / "backend.env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in named.items()))
        storage = ProjectStorage.open(Settings(_env_file=env_file))
        try:
            migrations.upgrade(storage.database)
            storage.start()
            yield Studio(place, storage, env_file)
        finally:
            storage.close()


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    #: For the Authorization header; empty where nobody asks for one.
    token: str = ""

    def cpu_seconds(self) -> float:
        """Processor time that it has taken (proc_pid_stat(5))."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self, *, peak: bool = False) -> int:
        """Memory that it holds, or the most that it ever held (proc_pid_status(5))."""
        name = "VmHWM" if peak else "VmRSS"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"/proc/{self.process.pid}/status has no {name}: the server is gone.")


@contextmanager
def _running(words: Sequence[str], token: str = "") -> Iterator[Server]:
    """Run a server until the end of the block. It says where it listens on standard error."""
    process = subprocess.Popen(
        [sys.executable, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_plain()
    )
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := _LISTENING.search(line):
                yield Server(process, int(found[1]), token)
                return
        raise RuntimeError(f"The server ended before it listened:\n{''.join(said)}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def _plain() -> dict[str, str]:
    """This environment without what it may say of another studio; modules are found where this process finds them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NOSLOP_", "PROJECT_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def serving(made: Studio, scope: TokenScope = TokenScope.ADMIN) -> Iterator[Server]:
    """Serve a studio as its hosts do, by `noslop-backend serve`, and ask for tokens."""
    token = Tokens(made.storage.database).create(f"bench {uuid.uuid4()}", scope, None).text
    words = ["-m", "noslop_backend.cli", "--env-file", str(made.env_file), "--account", "root", "serve", "--port", "0"]
    with _running(words, token) as server:
        yield server


@contextmanager
def serving_bare(made: Studio) -> Iterator[Server]:
    """Serve the endpoints that ours are held against, by the same server with the same settings."""
    with _running(["-m", "bench.backend_bare", str(made.env_file)]) as server:
        yield server


class Client:
    """One connection that stays open. It does as little as it can, so that what is measured is the server."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"Host: 127.0.0.1:{server.port}\r\n"
        if server.token:
            self._head += f"Authorization: Bearer {server.token}\r\n"

    def send(self, method: str, path: str, body: Iterable[bytes | memoryview] = (), *, length: int = 0) -> bytes:
        """Send a request and give the body of its answer.

        Args:
            method: as in HTTP.
            path: with its query.
            body: the pieces of a body of `length` bytes.
            length: 0 for no body.

        Raises:
            RuntimeError: the answer is none of success; it is in the text.
        """
        announced = f"Content-Length: {length}\r\n" if length or method != "GET" else ""
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\n{self._head}{announced}\r\n".encode())
        for piece in body:
            self._socket.sendall(piece)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._more(method, path)
        text = _LENGTH.search(answer, 0, end)
        whole = end + 4 + (int(text[1]) if text else 0)
        while len(answer) < whole:
            answer += self._more(method, path)
        if answer[9:10] != b"2":
            raise RuntimeError(f"{method} {path} was answered with {answer.decode(errors='replace')}")
        return answer[end + 4 :]

    def _more(self, method: str, path: str) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise RuntimeError(f"The server closed the connection in its answer to {method} {path}.")
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@dataclass
class Rounds:
    """What the sides took or gave, round by round, and what processor time this process and its children took."""

    seen: list[dict[str, float]] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, sides: Mapping[str, Callable[[], float]], count: int) -> Self:
        """Let the sides take turns. Every other round begins at the other end."""
        made = cls()
        for number in range(count):
            turn = list(sides) if number % 2 == 0 else list(sides)[::-1]
            found = {}
            for name in turn:
                busy = _cpu_s()
                found[name] = sides[name]()
                made.cpu.setdefault(name, []).append(_cpu_s() - busy)
            made.seen.append(found)
            text = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
            print(f"round {number + 1} of {count}: {text}", file=sys.stderr, flush=True)
        return made

    def median(self, name: str, digits: int = 3) -> float:
        """The median of one side."""
        return round(statistics.median(each[name] for each in self.seen), digits)

    def cpu_s(self, name: str) -> float:
        """The median of the processor time that a turn of one side took here: nothing of a server's is in it."""
        return statistics.median(self.cpu[name])

    def ratio(self, over: str, under: str) -> dict[str, float]:
        """One side over another: the median of the rounds' ratios, and how far they reach."""
        found = [each[over] / each[under] for each in self.seen]
        return {
            "median": round(statistics.median(found), 3),
            "smallest": round(min(found), 3),
            "largest": round(max(found), 3),
        }


def _cpu_s() -> float:
    spent = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def seconds(do: Callable[[], object]) -> float:
    """Time that something takes."""
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def percentiles_ms(seconds_each: Sequence[float]) -> dict[str, float]:
    """How long the middle one, the 95th and the 99th of a hundred took, and the longest; in milliseconds."""
    ordered = sorted(seconds_each)
    places = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
    return {name: round(1000 * ordered[int(part * (len(ordered) - 1))], 2) for name, part in places.items()}


def tell(benchmark: str, **found: object) -> int:
    """Print what was measured as one JSON object; gives the exit code."""
    host = {"processors": len(os.sched_getaffinity(0)), "python": sys.version.split()[0]}
    print(json.dumps({"benchmark": benchmark, **found, **host}))
    return 0
