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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3
from noslop_backend import layout
from noslop_backend.layout import FileKind
from noslop_backend.models import ProjectCreate
from noslop_backend.storage import ProjectStorage

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

State = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One request: what has to be there before, the request itself, and what has to be true after it was repeated."""

    prepare: Callable[[ProjectStorage, str], State]
    run: Callable[[ProjectStorage, str, State], str]
    check: Callable[[ProjectStorage, str, State, str], None]


def _nothing(_storage: ProjectStorage, _project: str) -> State:
    return {}


def _upload(storage: ProjectStorage, project: str, _state: State) -> str:
    body = png(3, {"prompt": "{}"})
    return storage.save_generated_media(project, "Cat", iter([body[:50], body[50:]]), key="key").model_dump_json()


def _one_medium(storage: ProjectStorage, project: str, _state: State, answer: str) -> None:
    files = storage.get_project_files(project).items
    assert [file.id for file in files] == [json.loads(answer)["id"]]
    with storage.open_file(project, files[0].id) as opened:
        assert opened.stream.read() == png(3, {"prompt": "{}"})
    assert storage.load_metadata(project, files[0].id)["embedded"] == {"prompt": {}}
    assert storage.get_storage_stats(project).image_count == 1


def _ticket(storage: ProjectStorage, project: str) -> State:
    ticket = storage.reserve_adoption(project, FileKind.IMAGE, "Cat", 1000, key="key")
    Path(ticket.staging_path).write_bytes(png(3, {"prompt": "{}"}))
    return {"intent": ticket.intent_id}


def _adopt(storage: ProjectStorage, project: str, state: State) -> str:
    return storage.adopt(project, state["intent"]).model_dump_json()


def _source(storage: ProjectStorage, project: str) -> State:
    return {"source": storage.save_generated_media(project, "Cat", png(1)).id}


def _promote(storage: ProjectStorage, project: str, state: State) -> str:
    return storage.promote_to_final(project, state["source"], name="Poster", key="key").model_dump_json()


def _one_final(storage: ProjectStorage, project: str, state: State, answer: str) -> None:
    finals = storage.get_project_files(project, kinds=frozenset({FileKind.FINAL})).items
    assert [file.id for file in finals] == [json.loads(answer)["id"]]
    assert finals[0].charged_bytes == 0
    storage.get_file(project, state["source"])


def _intermediates(storage: ProjectStorage, project: str) -> State:
    for number in range(3):
        storage.save_intermediate(project, FileKind.FRAME, f"f{number}", b"x" * 10)
    kept = storage.save_intermediate(project, FileKind.MASK, "m", b"y")
    storage.save_workflow(project, "w", {}, inputs=[kept.id])
    return {"kept": kept.id}


def _cleanup(storage: ProjectStorage, project: str, _state: State) -> str:
    storage.cleanup_intermediate(project)
    return ""


def _only_what_is_needed(storage: ProjectStorage, project: str, state: State, _answer: str) -> None:
    left = storage.get_project_files(project, kinds=frozenset({FileKind.FRAME, FileKind.MASK})).items
    assert [file.id for file in left] == [state["kept"]]


def _save_workflow(storage: ProjectStorage, project: str, _state: State) -> str:
    return storage.save_workflow(project, "w", {"n": 2}, key="key").model_dump_json()


def _two_versions(storage: ProjectStorage, project: str, _state: State, answer: str) -> None:
    versions = [file.version for file in storage.get_project_files(project).items]
    # A number that failed is a gap.
    assert versions in ([1, 2], [1, 3])
    assert json.loads(answer)["version"] == versions[-1]
    assert storage.load_workflow(project, "w").data == {"n": 2}
    assert storage.load_workflow(project, "w", version=1).data == {"n": 1}


def _first_version(storage: ProjectStorage, project: str) -> State:
    storage.save_workflow(project, "w", {"n": 1})
    return {}


def _trash(storage: ProjectStorage, project: str, state: State) -> str:
    storage.trash(project, [state["source"]], key="key")
    return ""


def _purge(storage: ProjectStorage, project: str, state: State) -> str:
    storage.purge(project, [state["source"], state["newest"]], key="purge")
    return ""


def _trashed(storage: ProjectStorage, project: str) -> State:
    state = _source(storage, project) | {"newest": storage.save_workflow(project, "w", {}).id}
    storage.trash(project, [state["source"], state["newest"]])
    return state


def _in_trash(storage: ProjectStorage, project: str, state: State, _answer: str) -> None:
    assert storage.get_file(project, state["source"]).state == "trashed"


def _all_gone(storage: ProjectStorage, project: str, _state: State, _answer: str) -> None:
    assert storage.get_storage_stats(project).used_bytes == 0
    # The number outlives the file, in the database and for a rebuild.
    known = json.loads((storage.tree.root / project / layout.METADATA).read_bytes())
    assert [document["last_version"] for document in known["documents"]] == [1]


OPERATIONS: dict[str, Operation] = {
    "upload": Operation(_nothing, _upload, _one_medium),
    "adopt": Operation(_ticket, _adopt, _one_medium),
    "promote": Operation(_source, _promote, _one_final),
    "cleanup": Operation(_intermediates, _cleanup, _only_what_is_needed),
    "save_workflow": Operation(_first_version, _save_workflow, _two_versions),
    "trash": Operation(_source, _trash, _in_trash),
    "purge": Operation(_trashed, _purge, _all_gone),
}


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

    def kill(self, name: str, number: int) -> None:
        """Kill at one call, repeat the request elsewhere, and assert that nothing is lost, torn or left over."""
        studio = self.copy()
        died, acknowledged = self._run(
            studio, self.directory / "trace", ["-e", f"inject={name}:signal=SIGKILL:when={number}"]
        )
        assert died, f"{name} {number} was not reached"
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
        assert [path.name for path in studio.root.iterdir() if path.is_dir()] == [self.project]
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
    with tempfile.TemporaryDirectory(prefix="noslop-crash-") as directory, ExitStack() as stack:
        cluster = stack.enter_context(Cluster.started()) if wanted.database == "postgresql" else None
        total = (0, 0)
        for name in wanted.operations:
            if wanted.errors:
                if cluster is None:
                    parser.error("--errors needs --database postgresql")
                tried, refused = run_errors(name, Path(directory), cluster, wanted.every)
                print(f"{name}: {tried} calls failed, {refused} requests refused, all right after each", flush=True)
                continue
            points, done = run_all(name, Path(directory), cluster, wanted.every)
            print(f"{name}: killed at {done} of {points} system calls, all right after each", flush=True)
            total = (total[0] + done, total[1] + points)
        if not wanted.errors:
            print(f"{wanted.database}: {total[0]} of {total[1]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
