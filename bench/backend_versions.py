# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure `save_workflow` of this version against that of an older one, and both against the bare commits and syncs.

Each version runs in a process of its own, with a studio on the same disk, and they take turns. The older code comes
from the history (`git archive`) and runs with the packages of this environment. What counts is processor time, user
and system together: a save waits for the disk most of the time, equally in all of them.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from bench.backend_common import Rounds, parser, tell
from bench.backend_saves import Bare
from bench.workflows import workflow

ROOT = Path(__file__).parents[1]
#: The version before its write path was rebuilt.
OLD_VERSION = "8ae3555bb4deff5228c02dbb5d6fbb1b8fea5a45"

#: Runs with either version. Reads a number of saves from each line, and prints the processor time that they took.
SERVANT = """
import json, resource, sys, uuid
from pathlib import Path
from bench.workflows import workflow
try:
    from noslop_backend.core.settings import Settings
    from noslop_backend.schemas import ProjectCreate
    from noslop_backend.services import ProjectStorage
except ImportError:
    from noslop_backend.models import ProjectCreate
    from noslop_backend.settings import Settings
    from noslop_backend.storage import ProjectStorage
from noslop_backend import migrations

def cpu_s():
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime

place = Path(sys.argv[1])
root = place / "projects"
root.mkdir()
marker = {"studio_id": "bench", "share": "projects", "share_id": str(uuid.uuid4())}
(root / ".noslop-share").write_text(json.dumps(marker))
settings = Settings(
    _env_file=None, studio_id="bench", project_storage_dir=root, database_url=f"sqlite:///{place}/backend.sqlite3"
)
storage = ProjectStorage.open(settings)
migrations.upgrade(storage.database)
storage.start()
project_id = storage.create_project_structure(ProjectCreate(name="Bench")).id
storage.save_workflow(project_id, "A workflow", workflow(0))
number = 1
print("ready", flush=True)
for line in sys.stdin:
    start = cpu_s()
    for _ in range(int(line)):
        storage.save_workflow(project_id, "A workflow", workflow(number))
        number += 1
    print(cpu_s() - start, flush=True)
"""


class Version:
    """A version of the backend in a process of its own."""

    def __init__(self, code: Path, directory: Path) -> None:
        directory.mkdir()
        program = directory / "servant.py"
        program.write_text(SERVANT)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NOSLOP_", "PROJECT_"))}
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=kept | {"PYTHONPATH": f"{code}:{ROOT}"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[str] = self._process.stdin
        self._answers: IO[str] = self._process.stdout
        if self._answers.readline() != "ready\n":
            raise RuntimeError(f"The backend in {code} did not start.")

    def save(self, saves: int) -> float:
        """Save some workflows. Return the processor time that it took, in seconds."""
        self._requests.write(f"{saves}\n")
        self._requests.flush()
        return float(self._answers.readline())

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._process.wait()


def extract_version(revision: str, directory: Path) -> Path:
    """Write the backend of a revision below a directory. Return where its package is found."""
    archive = subprocess.run(["git", "archive", revision, "backend"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        raise SystemExit(f"The history has to have {revision} (git fetch --unshallow): {archive.stderr.decode()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tree:
        tree.extractall(directory, filter="data")
    return directory / "backend"


def save_bare(bare: Bare, numbers: itertools.count[int], saves: int) -> float:
    """Do the commits and syncs of some saves. Return the processor time that they took, in seconds."""
    sidecar = workflow(0)[:1000]
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(saves):
        number = next(numbers)
        bare.save(number, workflow(number), sidecar)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure, and print one JSON object."""
    options = parser(__doc__, rounds=7)
    options.add_argument("--saves", type=int, default=200, help="a turn (%(default)s; with --full 1000)")
    options.add_argument("--before", default=OLD_VERSION, metavar="REVISION", help="the older version (%(default)s)")
    given: argparse.Namespace = options.parse_args()
    saves = 1000 if given.full else given.saves
    with tempfile.TemporaryDirectory(prefix="noslop-bench-", dir=given.directory) as made:
        place = Path(made)
        bare = Bare(place / "bare")
        versions = {
            "before": Version(extract_version(given.before, place / "code"), place / "before"),
            "now": Version(ROOT / "backend", place / "now"),
        }
        numbers = itertools.count()
        sides: dict[str, Callable[[], float]] = {
            "before": lambda: versions["before"].save(saves),
            "now": lambda: versions["now"].save(saves),
            "bare": lambda: save_bare(bare, numbers, saves),
        }
        start = time.monotonic()
        measured = Rounds.of(sides, given.rounds)
        elapsed_s = time.monotonic() - start
        for version in versions.values():
            version.close()
        bare.database.close()
    return tell(
        "backend_versions",
        old_version=given.before,
        saves=saves,
        rounds=given.rounds,
        cpu_ms_per_save={name: round(1000 * measured.median(name, 6) / saves, 3) for name in sides},
        now_over_before=measured.ratio("now", "before"),
        now_over_bare=measured.ratio("now", "bare"),
        elapsed_s=round(elapsed_s, 1),
    )


if __name__ == "__main__":
    raise SystemExit(main())
