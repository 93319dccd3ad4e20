"""Projects of many empty images, for benchmarks: their rows, and their files where something walks over them."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime

from blake3 import blake3
from noslop_backend.core.enums import ProjectState
from noslop_backend.models import ProjectModel
from noslop_backend.repositories import ProjectRepository, StoreRepository
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from sqlalchemy import text

_EMPTY = blake3().hexdigest()
#: Of every file that is made here, so that nobody has to look at it to know.
_MTIME_NS = 1_700_000_000_123_456_789
#: All rows of a project, made by SQLite itself: a million through Python would take longer than what is measured.
_ROWS = text("""
    WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :files)
    INSERT INTO file (id, project_id, kind, state, path, name, size_bytes, charged_bytes, blake3, content_type,
        parameters, content_id, last_sidecar, mtime_ns, created_at)
    SELECT printf('%013d', :first + n), :project_id, 'image', 'present',
        :directory || printf('/picture-%013d.png', :first + n), 'Picture', 0, 0, :blake3, 'image/png',
        '{}', printf('%013d', :first + n), 0, :mtime_ns, :created_at
    FROM number
""")


def fill(storage: ProjectStorage, files: int, *, first: int, on_disk: bool) -> str:
    """Make a project with so many images; gives its id.

    Args:
        storage: the service, on SQLite.
        files: how many, at least one.
        first: number of the first; no two projects may share one.
        on_disk: make the files too, and not only their rows.
    """
    project_id = layout.project_id("bench", secrets.token_bytes(layout.PROJECT_ID_BYTES))
    now = datetime.now(UTC)
    directory = layout.DIRECTORY[FileKind.IMAGE]
    assert layout.parse(f"{directory}/{_name(first)}") is not None
    with storage.database.write() as session:
        row = ProjectModel(id=project_id, name="Bench", folder_path=project_id, created_at=now, updated_at=now)
        row.state = ProjectState.PRESENT
        ProjectRepository(session).add(row)
        created = now.replace(tzinfo=None).isoformat(" ")
        values = {"files": files, "first": first, "project_id": project_id, "directory": directory}
        session.connection().execute(_ROWS, {**values, "blake3": _EMPTY, "mtime_ns": _MTIME_NS, "created_at": created})
        ProjectRepository(session).update_storage_stats(project_id)
        StoreRepository(session).update_storage_stats()
    if on_disk:
        _touch(storage, project_id, first, files)
    return project_id


def _name(number: int) -> str:
    return f"picture-{number:013d}.png"


def _touch(storage: ProjectStorage, project_id: str, first: int, files: int) -> None:
    with storage.share() as share:
        share.make_project(project_id)
        with share.directory(project_id, *layout.DIRECTORY[FileKind.IMAGE].split("/")) as directory:
            for number in range(first, first + files):
                made = os.open(_name(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444, dir_fd=directory)
                os.utime(made, ns=(_MTIME_NS, _MTIME_NS))
                os.close(made)
