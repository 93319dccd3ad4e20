"""Reconcile's walk of many files, against the loop of before, `gdu` and `Path.rglob`, on one tree.

The loop of before is the one that NoSlop began with: `rglob`, then `is_file` and `stat` of each. The walk is to take at
most a quarter of its time.

The tree is warm in the page cache, as it is on a storage server. Processor time is told beside the time that passes:
gdu works on all processors at once, the walk and rglob on one. What reconcile needs to compare the files with their
rows comes beside that: it depends on the database, not on the disk.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.services import ProjectStorage
from noslop_backend.share import scan

from bench.backend_common import Rounds, parser, seconds, studio, tell
from bench.backend_filled import fill

PROJECTS = 10


def walked(storage: ProjectStorage, projects: list[str]) -> int:
    """Walk as reconcile does; gives how many files there are."""
    count = 0
    with storage.share() as share:
        for project_id in projects:
            for place in scan.PLACES:
                for piece in scan.pieces(share, project_id, place):
                    count += len(piece.entries)
    return count


def looped(root: Path) -> int:
    """Add up the sizes of all files as NoSlop did at first."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def main() -> int:
    """Measure, and print one JSON object."""
    takes = parser(__doc__, rounds=7)
    takes.add_argument("--files", type=int, default=100_000, help="how many (%(default)s; with --full 1000000)")
    given = takes.parse_args()
    files = 1_000_000 if given.full else given.files
    gdu = shutil.which("gdu") or shutil.which("gdu-go")
    if gdu is None:
        print("gdu is not here, so the walk is not held against it: apt-get install gdu", file=sys.stderr)
    with studio(given.directory) as made:
        parts = [files // PROJECTS + (number < files % PROJECTS) for number in range(PROJECTS)]
        projects = [fill(made.storage, count, first=number * files, on_disk=True) for number, count in enumerate(parts)]
        sides: dict[str, Callable[[], object]] = {
            "walk": lambda: walked(made.storage, projects),
            "original": lambda: looped(made.root),
            "rglob": lambda: sum(1 for _ in made.root.rglob("*")),
        }
        if gdu is not None:
            words = [gdu, "--non-interactive", "--no-progress", str(made.root)]
            sides["gdu"] = lambda: subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        # The first walk warms the tree for all.
        assert walked(made.storage, projects) == files

        def turn(name: str) -> Callable[[], float]:
            return lambda: seconds(sides[name])

        rounds = Rounds.of({name: turn(name) for name in sides}, given.rounds)
        compared = Rounds.of({"all": lambda: seconds(lambda: reconcile(made.storage, apart_s=0))}, 1)
        return tell(
            "backend_reconcile",
            files=files,
            rounds=given.rounds,
            seconds={name: rounds.median(name) for name in sides},
            walk_over_original=rounds.ratio("walk", "original"),
            walk_over_rglob=rounds.ratio("walk", "rglob"),
            walk_over_gdu=rounds.ratio("walk", "gdu") if gdu else None,
            cpu_us_per_file={name: round(1e6 * rounds.cpu_s(name) / files, 2) for name in sides},
            with_comparison={
                "seconds": compared.median("all"),
                "cpu_us_per_file": round(1e6 * compared.cpu_s("all") / files, 2),
            },
        )


if __name__ == "__main__":
    raise SystemExit(main())
