"""Projects of many empty images, for benchmarks: their rows, and their files where something walks over them."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from typing import Any

from blake3 import blake3
from noslop_backend import layout
from noslop_backend.crud import ProjectCRUD, StoreCRUD
from noslop_backend.files import Share
from noslop_backend.layout import FileKind
from noslop_backend.models import FileModel, ProjectModel, ProjectState
from noslop_backend.storage import ProjectStorage
from sqlalchemy import insert

_BATCH = 10_000
_EMPTY = blake3().hexdigest()
#: Of every file that is made here, so that nobody has to look at it to know.
_MTIME_NS = 1_700_000_000_123_456_789


def fill(storage: ProjectStorage, files: int, *, on_disk: bool) -> str:
    """Make a project with so many images; gives its id.

    Args:
        storage: the service.
        files: how many.
        on_disk: make the files too, and not only their rows.
    """
    project_id = layout.project_id("bench", secrets.token_bytes(layout.PROJECT_ID_BYTES))
    now = datetime.now(UTC)
    with storage.share() as share:
        if on_disk:
            share.make_project(project_id)
        with storage.database.write() as session:
            row = ProjectModel(id=project_id, name="Bench", folder_path=project_id, created_at=now, updated_at=now)
            row.state = ProjectState.PRESENT
            ProjectCRUD(session).add(row)
        for start in range(0, files, _BATCH):
            rows = [_row(project_id, index, now) for index in range(start, min(files, start + _BATCH))]
            if on_disk:
                _touch(share, project_id, [row["path"] for row in rows])
            with storage.database.write() as session:
                session.connection().execute(insert(FileModel), rows)
    with storage.database.write() as session:
        ProjectCRUD(session).update_storage_stats(project_id)
        StoreCRUD(session).update_storage_stats()
    return project_id


def _row(project_id: str, index: int, now: datetime) -> dict[str, Any]:
    file_id = ProjectStorage.new_id()
    return {
        "id": file_id,
        "project_id": project_id,
        "kind": FileKind.IMAGE,
        "state": "present",
        "path": layout.path(FileKind.IMAGE, f"A picture {index}", file_id, "png"),
        "name": f"A picture {index}",
        "size_bytes": 0,
        "charged_bytes": 0,
        "blake3": _EMPTY,
        "content_type": "image/png",
        "parameters": {},
        "content_id": file_id,
        "last_sidecar": 0,
        "mtime_ns": _MTIME_NS,
        "created_at": now,
    }


def _touch(share: Share, project_id: str, paths: list[str]) -> None:
    with share.directory(project_id, *layout.DIRECTORY[FileKind.IMAGE].split("/")) as directory:
        for path in paths:
            made = os.open(os.path.basename(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444, dir_fd=directory)
            os.utime(made, ns=(_MTIME_NS, _MTIME_NS))
            os.close(made)
