# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes at once, killed at random, their requests repeated with the same keys.

`python -m tests.backend.processes --operations 10000 --processes 8 --database postgresql` is the long form; the tests
do a short one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.backend.checking import check_writes
from tests.backend.memory import MEMORY
from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, make_sqlite, make_studio
from tests.backend.writers import Work, acknowledged, make_projects, supervise

#: Answers that a process which was killed asks for once more.
_SENT_AGAIN = 5


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    operations: int
    kills: int
    #: Version numbers that no file has, since the write that took them failed.
    gaps: int


def run(studio: Studio, operations: int, processes: int, kills: int, seed: int) -> Outcome:
    """Let processes work through requests, each sent by two of them; kill one now and then until all are answered."""
    work = Work(make_projects(studio.storage), operations, processes, repeated=_SENT_AGAIN)
    studio.close()
    logs = studio.root.parent / "logs"
    killed = supervise(lambda: studio.another(lease_s=0.2), work, range(processes), logs, kills=kills, seed=seed)
    answers = acknowledged(log.read_text() for log in sorted(logs.glob("*.log")))
    return Outcome(operations, killed, check_writes(studio, work, answers))


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--directory", type=Path, default=MEMORY, help="where the share is to lie (%(default)s)")
    wanted = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="noslop-many-", dir=wanted.directory)))
        if wanted.database == "postgresql":
            url = stack.enter_context(Cluster.started()).new_database()
        else:
            url = f"sqlite:///{make_sqlite(directory / 'backend.sqlite3')}"
        started = time.monotonic()
        done = run(make_studio(directory, url), wanted.operations, wanted.processes, wanted.kills, wanted.seed)
        took = time.monotonic() - started
        print(
            f"{wanted.processes} processes on {wanted.database}: {done.operations} of {wanted.operations} operations "
            f"right, {done.kills} of {wanted.kills} kills, {done.gaps} gaps, {took:.0f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
