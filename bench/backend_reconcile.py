"""Reconcile's walk of many files, against `Path.rglob` and, where it is installed, `gdu`, on one tree and in one run.

The sides alternate in every round, so that a busy machine is busy for all of them; what counts is the median of the
rounds'
ratios. The tree is warm in the page cache, as it is on a storage server. What reconcile needs to compare the files
with their
rows comes beside that: it depends on the database, not on the disk.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3
from noslop_backend import layout, migrations
from noslop_backend.crud import ProjectCRUD
from noslop_backend.crud.bulk import BulkCRUD
from noslop_backend.files import walk
from noslop_backend.layout import FileKind
from noslop_backend.models import FileModel, ProjectModel, ProjectState
from noslop_backend.reconcile import reconcile
from noslop_backend.settings import Settings
from noslop_backend.storage import ProjectStorage

PROJECTS = 10
ROUNDS = 5
_STUDIO = "bench"
_EMPTY = blake3().hexdigest()
_BATCH = 5000


def make(storage: ProjectStorage, files: int) -> list[str]:
    """Make projects with so many empty images together, and their rows."""
    root = storage.settings.project_storage_dir
    root.mkdir(parents=True)
    marker = {"studio_id": _STUDIO, "share": layout.SHARE, "share_id": "bench"}
    (root / layout.MARKER).write_text(json.dumps(marker))
    storage.start()
    made = []
    now = datetime.now(UTC)
    for number in range(PROJECTS):
        project_id = layout.project_id("bench", secrets.token_bytes(layout.PROJECT_ID_BYTES))
        with storage.share() as share, storage.database.write() as session:
            share.make_project(project_id)
            row = ProjectModel(id=project_id, name="bench", folder_path=project_id, created_at=now, updated_at=now)
            row.state = ProjectState.PRESENT
            ProjectCRUD(session).add(row)
        rows = []
        for index in range(files // PROJECTS + (number < files % PROJECTS)):
            file_id = storage.new_id()
            path = layout.path(FileKind.IMAGE, f"A picture {index}", file_id, "png")
            place = root / project_id / path
            place.touch()
            rows.append(_row(project_id, file_id, path, place.stat().st_mtime_ns, now))
            if len(rows) == _BATCH:
                _insert(storage, rows)
                rows = []
        _insert(storage, rows)
        with storage.database.write() as session:
            ProjectCRUD(session).update_storage_stats(project_id)
        made.append(project_id)
    return made


def _row(project_id: str, file_id: str, path: str, mtime_ns: int, now: datetime) -> FileModel:
    return FileModel(
        id=file_id,
        project_id=project_id,
        kind=FileKind.IMAGE,
        path=path,
        name="A picture",
        size_bytes=0,
        charged_bytes=0,
        blake3=_EMPTY,
        content_type="image/png",
        content_id=file_id,
        mtime_ns=mtime_ns,
        created_at=now,
    )


def _insert(storage: ProjectStorage, rows: list[FileModel]) -> None:
    with storage.database.write() as session:
        BulkCRUD(session).add_files(rows)


def walked(storage: ProjectStorage, projects: list[str]) -> int:
    """Walk as reconcile does."""
    count = 0
    with storage.share() as share:
        for project_id in projects:
            for place in walk.PLACES:
                for piece in walk.pieces(share, project_id, place):
                    count += len(piece.entries)
    return count


def measured(do: Callable[[], object]) -> float:
    """Seconds that something takes."""
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def main() -> int:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=100_000, help="how many (1000000 for a large studio)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--directory", type=Path, help="where the tree is made; a temporary directory by default")
    arguments = parser.parse_args()
    gdu = shutil.which("gdu") or shutil.which("gdu-go")
    with tempfile.TemporaryDirectory(prefix="noslop-bench-", dir=arguments.directory) as directory:
        root = Path(directory, "projects")
        settings = Settings(
            _env_file=None,
            studio_id=_STUDIO,
            project_storage_dir=root,
            database_url=f"sqlite:///{directory}/backend.sqlite3",
        )
        storage = ProjectStorage.open(settings)
        migrations.upgrade(storage.database)
        projects = make(storage, arguments.files)
        assert walked(storage, projects) == arguments.files
        sides: dict[str, Callable[[], object]] = {
            "walk": lambda: walked(storage, projects),
            "rglob": lambda: sum(1 for _ in root.rglob("*")),
        }
        if gdu:
            sides["gdu"] = lambda: subprocess.run(
                [gdu, "--non-interactive", "--no-progress", str(root)], stdout=subprocess.DEVNULL, check=True
            )
        rounds = [{name: measured(side) for name, side in sides.items()} for _ in range(arguments.rounds)]
        compared = [measured(lambda: reconcile(storage, apart_s=0)) for _ in range(2)]
        storage.close()
    answer = {
        "benchmark": "backend_reconcile",
        "files": arguments.files,
        "rounds": arguments.rounds,
        "seconds": {name: round(statistics.median(each[name] for each in rounds), 3) for name in sides},
        "walk_over_rglob": round(statistics.median(each["walk"] / each["rglob"] for each in rounds), 3),
        "walk_over_gdu": round(statistics.median(each["walk"] / each["gdu"] for each in rounds), 3) if gdu else None,
        "with_comparison_seconds": round(min(compared), 3),
        "python": sys.version.split()[0],
    }
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
