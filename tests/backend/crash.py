# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a process that drives the service at each system call that changes something, and look at what is left.

A run that is only traced numbers the calls after a marker; then the process is killed on entering each of them, once
each, and the same request is repeated by another process. `python -m tests.backend.crash` does all of them and prints
a line an operation; the tests do a sample.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from blake3 import blake3
from noslop_backend.media import probe
from noslop_backend.schemas import ProjectCreate
from noslop_backend.share import layout

from tests.backend.memory import in_memory
from tests.backend.operations import OPERATIONS, Operation
from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, make_sqlite, make_studio, png

#: What changes files, names or databases. `openat` counts only where it creates.
CALLS = (
    *(
        "write",
        "pwrite64",
        "writev",
        "sendto",
        "fsync",
        "fdatasync",
        "ftruncate",
        "openat",
        "linkat",
        "unlink",
        "unlinkat",
    ),
    *("rename", "renameat", "renameat2", "mkdir", "mkdirat", "fchmod", "fchmodat"),
)
#: Of these, what the backend does on the share only.
_ON_SHARE = frozenset({"write", "fsync", "linkat", "openat", "fchmod", "mkdirat", "renameat", "unlinkat"})
#: What a call says when the disk is full, when the account's part of it is, or when it breaks; and what it becomes.
ERRORS = {
    "ENOSPC": ("StorageFullError",),
    "EDQUOT": ("QuotaExceededError",),
    "EIO": ("ShareUnavailableError",),
}
_LINE = re.compile(r"^\d+\s+(?P<name>\w+)\((?P<arguments>.*)")


class Bench:
    """A studio that is copied for each kill, so that all of them begin at the same place."""

    def __init__(self, operation: Operation, directory: Path, cluster: Cluster | None) -> None:
        self.operation = operation
        self.directory = directory
        self.cluster = cluster
        template = directory / "template"
        template.mkdir()
        url = cluster.new_database() if cluster else f"sqlite:///{make_sqlite(template / 'backend.sqlite3')}"
        studio = make_studio(template, url)
        self.project = studio.storage.create_project_structure(ProjectCreate(name="A film")).id
        self.state = operation.prepare(studio.storage, self.project)
        self.projects = {path.name for path in studio.root.iterdir() if path.is_dir()}
        self._url = url
        studio.close()
        self._copies = 0

    def copy(self) -> Studio:
        """Another studio that is just like the first."""
        self._copies += 1
        place = self.directory / f"copy{self._copies}"
        shutil.copytree(self.directory / "template", place, copy_function=_copy_linked(), symlinks=True)
        url = f"sqlite:///{place}/backend.sqlite3"
        if self.cluster:
            url = self.cluster.new_database(self._url.split("/@/")[-1].split("@/")[-1].split("?")[0])
        marker = json.loads((place / "projects" / layout.MARKER).read_text())
        return Studio(place / "projects", url, marker["share_id"])

    def points(self) -> list[tuple[str, int]]:
        """Every call that changes something, as its name and its number among those of that name."""
        studio = self.copy()
        log = self.directory / "trace"
        died, _ = self._run(studio, log, [])
        assert not died
        counts: dict[str, int] = {}
        points = []
        for line in log.read_text(errors="replace").splitlines():
            found = _LINE.match(line)
            if found is None:
                continue
            name = found["name"]
            counts[name] = counts.get(name, 0) + 1
            if name != "openat" or "O_CREAT" in found["arguments"]:
                points.append((name, counts[name]))
        shutil.rmtree(studio.root.parent)
        return points

    def killed(self, name: str, number: int) -> tuple[Studio, str]:
        """Return a copy whose request was killed on entering a call, and what it acknowledged before.

        How many there are varies a little: a slow run renews its lease once more, and random ids fall into other pages
        of SQLite's. Where a run has fewer calls of the name than the one that was traced, the one before is taken.
        """
        for earlier in range(number, max(number - 8, 0), -1):
            studio = self.copy()
            inject = ["-e", f"inject={name}:signal=SIGKILL:when={earlier}"]
            died, acknowledged = self._run(studio, self.directory / "trace", inject)
            if died:
                return studio, acknowledged
            studio.close()
            shutil.rmtree(studio.root.parent)
        raise AssertionError(f"{name} {number} was not reached, nor the seven before it")

    def kill(self, name: str, number: int) -> None:
        """Kill at one call, repeat the request elsewhere, and assert that nothing is lost, torn or left over."""
        studio, acknowledged = self.killed(name, number)
        self._check_whole(studio)
        # Half of the time recovery comes by before the client does.
        if number % 2:
            assert studio.storage.recover().failed == {}
        answer = self.operation.run(studio.storage, self.project, self.state)
        if acknowledged:
            assert answer == acknowledged
        report = studio.storage.recover()
        assert report.failed == {}
        self.operation.check(studio.storage, self.project, self.state, answer)
        studio.check(self.project)
        assert list((studio.root / self.project / layout.STAGING).iterdir()) == []
        assert {path.name for path in studio.root.iterdir() if path.is_dir()} == self.projects
        for project in self.projects - {self.project}:
            studio.check(project)
            assert list((studio.root / project / layout.STAGING).iterdir()) == []
        studio.close()
        shutil.rmtree(studio.root.parent)

    def fail(self, name: str, number: int, says: str) -> bool:
        """Let one call fail, and assert that the request says so or is done, and that nothing is left over.

        Args:
            name: the call.
            number: its number among those of that name.
            says: the error, as errno(3) names it.

        Returns:
            Whether the request was refused.
        """
        studio = self.copy()
        inject = ["-e", f"inject={name}:error={says}:when={number}"]
        died, said = self._run(studio, self.directory / "trace", inject, may_fail=True)
        assert not died
        refused = not said.startswith("{")
        assert not refused or any(said.startswith(error) for error in ERRORS[says]), said
        self._check_whole(studio)
        assert studio.storage.recover().failed == {}
        answer = self.operation.run(studio.storage, self.project, self.state)
        assert refused or answer == said
        self.operation.check(studio.storage, self.project, self.state, answer)
        studio.check(self.project)
        assert list((studio.root / self.project / layout.STAGING).iterdir()) == []
        studio.close()
        shutil.rmtree(studio.root.parent)
        return refused

    def _check_whole(self, studio: Studio) -> None:
        """Whatever can be seen right after the kill is whole."""
        bodies = [b"x" * 10, b"y", png(1), png(3, {"prompt": "{}"})]
        known = {blake3(body).hexdigest() for body in bodies}
        for path, body in studio.tree(self.project).items():
            if path.startswith(layout.STAGING):
                continue
            if path.endswith(".json"):
                json.loads(body)
            else:
                assert blake3(body).hexdigest() in known, path

    def _run(self, studio: Studio, log: Path, inject: list[str], *, may_fail: bool = False) -> tuple[bool, str]:
        """Do the request in a process of its own under strace.

        Gives whether it was killed, and what it acknowledged, or if it `may_fail` its error.
        """
        go_read, go_write = os.pipe()
        said_read, said_write = os.pipe()
        child = os.fork()
        if child == 0:
            self._drive(studio, go_read, said_write)
        os.close(go_read)
        os.close(said_write)
        # Only now is it at the marker: what came before is not counted.
        assert os.read(said_read, 1) == b"r"
        calls = ",".join(f"?{name}" for name in CALLS)
        strace = subprocess.Popen(
            ["strace", "-f", "-o", str(log), "-e", f"trace={calls}", "-e", "signal=none", *inject, "-p", str(child)],
            stderr=subprocess.PIPE,
        )
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        assert b"attached" in attached, attached
        os.write(go_write, b"g")
        with os.fdopen(said_read, "rb") as stream:
            acknowledged = stream.read().decode()
        _, status = os.waitpid(child, 0)
        strace.communicate()
        os.close(go_write)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True, acknowledged
        assert os.WEXITSTATUS(status) == 0 or may_fail, acknowledged
        return False, acknowledged

    def _drive(self, studio: Studio, go: int, said: int) -> None:
        """The child: get ready, wait for the marker, do the request, acknowledge it. Nobody waits for its lease."""
        status = 1
        try:
            storage = studio.another(lease_s=0)
            storage.start()
            storage.get_project(self.project)
            # The decoders' processes run by then: their calls are not counted.
            with tempfile.TemporaryFile() as stream:
                probe.facts(stream, "image/png")
            os.write(said, b"r")
            os.read(go, 1)
            os.write(said, self.operation.run(storage, self.project, self.state).encode())
            status = 0
        except BaseException as error:
            os.write(said, repr(error).encode())
        finally:
            os._exit(status)


def _copy_linked() -> Callable[[str, str], str]:
    """Copy files so that two names of one content stay two names of one content."""
    seen: dict[int, str] = {}

    def copy(source: str, target: str) -> str:
        inode = os.stat(source).st_ino
        if inode in seen:
            os.link(seen[inode], target)
        else:
            shutil.copy2(source, target)
            seen[inode] = target
        return target

    return copy


def run_errors(name: str, directory: Path, cluster: Cluster, every: int = 1) -> tuple[int, int]:
    """Let calls on the share fail, one after the other: on PostgreSQL, where the database's are another process's.

    Gives how many were tried, and how many requests were refused for it; others can do without that call.
    """
    place = Path(tempfile.mkdtemp(prefix=f"{name}-errors-", dir=directory))
    bench = Bench(OPERATIONS[name], place, cluster)
    # Not what goes to the database; and the last that is written is the answer.
    points = [point for point in bench.points() if point[0] in _ON_SHARE]
    points.remove(max(point for point in points if point[0] == "write"))
    tried = [(*point, says) for point in points for says in ERRORS][::every]
    refused = sum(bench.fail(*each) for each in tried)
    shutil.rmtree(place)
    return len(tried), refused


def run_all(name: str, directory: Path, cluster: Cluster | None, every: int = 1) -> tuple[int, int]:
    """Kill at every point of an operation, or at one in so many.

    Gives how many points there are and how many were done.
    """
    place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=directory))
    bench = Bench(OPERATIONS[name], place, cluster)
    points = bench.points()
    chosen = points[::every]
    for point in chosen:
        bench.kill(*point)
    shutil.rmtree(place)
    return len(points), len(chosen)


def main() -> int:
    """All operations at all points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", nargs="*", default=list(OPERATIONS))
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--errors", action="store_true", help="let calls fail instead (with --database postgresql)")
    wanted = parser.parse_args()
    with in_memory() as directory, ExitStack() as stack:
        cluster = stack.enter_context(Cluster.started()) if wanted.database == "postgresql" else None
        total = (0, 0)
        for name in wanted.operations:
            if wanted.errors:
                if cluster is None:
                    parser.error("--errors needs --database postgresql")
                tried, refused = run_errors(name, directory, cluster, wanted.every)
                print(f"{name}: {tried} calls failed, {refused} requests refused, all right after each", flush=True)
                continue
            points, done = run_all(name, directory, cluster, wanted.every)
            print(f"{name}: killed at {done} of {points} system calls, all right after each", flush=True)
            total = (total[0] + done, total[1] + points)
        if not wanted.errors:
            print(f"{wanted.database}: {total[0]} of {total[1]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
