# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill an import at each system call that changes something: what is seen afterwards is a whole project or none.

`python -m tests.backend.crash_import` kills at all of them; the tests do a sample.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from noslop_backend.archive import export, import_from
from noslop_backend.core.enums import ProjectState
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import hidden_dirs, layout

from tests.backend.crash import Bench
from tests.backend.memory import in_memory
from tests.backend.operations import Operation, State
from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, png


def _archive(storage: ProjectStorage, _project: str) -> State:
    """Export a project with one of the kinds that are written differently, and forget it."""
    project = storage.create_project_structure(ProjectCreate(name="Travels")).id
    image = storage.save_generated_media(project, "Cat", png(3))
    storage.save_workflow(project, "w", {"in": image.path})
    storage.promote_to_final(project, image.id)
    gone = storage.save_generated_media(project, "Dog", png(4))
    storage.trash(project, [gone.id])
    stream = io.BytesIO()
    export(storage, project, stream)
    storage.trash_project(project)
    storage.purge_project(project)
    return {"archive": stream.getvalue(), "project": project}


def _import(storage: ProjectStorage, _project: str, state: State) -> str:
    return import_from(storage, io.BytesIO(state["archive"])).project.id


def _nothing(_storage: ProjectStorage, _project: str, _state: State, _answer: str) -> None:
    """All is checked by the bench."""


class ImportBench(Bench):
    """Kills imports."""

    def __init__(self, directory: Path, cluster: Cluster | None) -> None:
        super().__init__(Operation(_archive, _import, _nothing), directory, cluster)
        studio = self.copy()
        self.expected = studio.tree(_import(studio.storage, self.project, self.state))
        studio.close()
        shutil.rmtree(studio.root.parent)

    def kill(self, name: str, number: int) -> None:
        """Kill at one call, and assert that the project is there as a whole or not at all; then import it once more."""
        studio, acknowledged = self.killed(name, number)
        self._whole(studio)
        assert studio.storage.recover().failed == {}
        there = self._whole(studio)
        if acknowledged:
            assert acknowledged in there
        on_share = {path.name for path in studio.root.iterdir() if layout.is_project_id(path.name)}
        assert on_share == {*there, self.project}
        assert studio.storage.list_projects(state=ProjectState.CREATING).items == []
        again = _import(studio.storage, self.project, self.state)
        assert again == self.state["project"] or self.state["project"] in there
        for project in {*there, again}:
            studio.check(project)
        assert studio.storage.get_store_stats().reserved_bytes == 0
        assert list((studio.root / hidden_dirs.IMPORTS).iterdir()) == []
        studio.close()
        shutil.rmtree(studio.root.parent)

    def _whole(self, studio: Studio) -> set[str]:
        """Ids of the imported projects that can be seen; each has all its files, in the database and on the share."""
        on_share = {path.name for path in studio.root.iterdir() if layout.is_project_id(path.name)} - {self.project}
        for project in on_share:
            assert studio.tree(project).keys() == self.expected.keys()
        seen = {each.id for each in studio.storage.list_projects().items} - {self.project}
        assert seen <= on_share
        for project in seen:
            assert studio.storage.get_storage_stats(project).media_count == 2
            assert len(studio.rows(project)) == len(self.expected) - 1
        return seen


def run_all(directory: Path, cluster: Cluster | None, every: int = 1) -> tuple[int, int]:
    """Kill at every point, or at one in so many; gives how many points there are and how many were done."""
    place = Path(tempfile.mkdtemp(prefix="import-", dir=directory))
    bench = ImportBench(place, cluster)
    points = bench.points()
    chosen = points[::every]
    for point in chosen:
        bench.kill(*point)
    shutil.rmtree(place)
    return len(points), len(chosen)


def main() -> int:
    """All points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--every", type=int, default=1)
    wanted = parser.parse_args()
    with in_memory() as directory, ExitStack() as stack:
        cluster = stack.enter_context(Cluster.started()) if wanted.database == "postgresql" else None
        points, done = run_all(directory, cluster, wanted.every)
        print(f"import: killed at {done} of {points} system calls, all right after each", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
