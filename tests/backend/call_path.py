# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the files of the backend that one call passes through: what a newcomer has to open to follow it.

A file counts when a function of it runs between the call of the service and its return. Each call is done once before,
so that nothing of the first start is in it. Beside the number of all files stands that of the files that decide what
happens: without `core`, `models`, `schemas`, `repositories` and `media`, which say what a setting, a row, a statement
or a type is.

    python -m tests.backend.call_path
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import noslop_backend
from noslop_backend import migrations
from noslop_backend.core.settings import Settings
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services import ProjectStorage

from tests.backend.studio import png

PACKAGE = Path(noslop_backend.__file__).parent
DESCRIBING = frozenset({"core", "models", "schemas", "repositories", "media"})


def trace(call: Callable[[], object]) -> list[str]:
    """Return the files of the package whose functions a call runs, by path below it, in the order they are met."""
    paths: dict[str, None] = {}

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{PACKAGE}/"):
            paths.setdefault(str(Path(frame.f_code.co_filename).relative_to(PACKAGE)))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(paths)


def trace_calls(directory: Path) -> dict[str, list[str]]:
    """Return the files that an upload, a save, a trash and a reconcile pass through, in a studio below a directory."""
    root = directory / "projects"
    root.mkdir()
    marker = {"studio_id": "path", "share": "projects", "share_id": "0f8e7a2c-5d1b-4a7e-9c3d-2b6f1e0a9d84"}
    (root / ".noslop-share").write_text(json.dumps(marker))
    storage = ProjectStorage.open(
        Settings(
            _env_file=None, studio_id="path", project_storage_dir=root,
            database_url=f"sqlite:///{directory}/backend.sqlite3",
        )
    )  # fmt: skip
    migrations.upgrade(storage.database)
    storage.start()
    project = storage.create_project_structure(ProjectCreate(name="Path")).id
    files = [storage.save_generated_media(project, "a.png", png(number)).id for number in range(2)]
    storage.save_workflow(project, "w", b"{}")
    storage.trash(project, [files[0]])
    reconcile(storage)
    try:
        return {
            "upload": trace(lambda: storage.save_generated_media(project, "b.png", png(9))),
            "save": trace(lambda: storage.save_workflow(project, "w", b'{"a": 1}')),
            "trash": trace(lambda: storage.trash(project, [files[1]])),
            "reconcile": trace(lambda: reconcile(storage)),
        }
    finally:
        storage.close()


def count_deciding(paths: list[str]) -> int:
    """Return how many of these files decide what happens."""
    return sum(path.split("/")[0] not in DESCRIBING for path in paths)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for name, paths in trace_calls(Path(place)).items():
            print(f"{name}: {len(paths)} files, {count_deciding(paths)} of them decide: {' '.join(paths)}")
