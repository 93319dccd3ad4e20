# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve what goes: intermediates that are cleaned up, and the trash of a project.

`DELETE` moves a thing to the trash, `POST .../restore` brings it back, `DELETE` of the trash removes it for good: files
here, projects in routes/projects.py.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from noslop_backend.api.auth import ADMIN, READ, WRITE
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import (
    Absent,
    Body,
    Cursor,
    Days,
    FileId,
    FileIds,
    GivenFileIds,
    InOrder,
    Key,
    Limit,
    MaybeFileIds,
    Order,
    ProjectId,
    older_than,
)
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes.uploads import IntermediateKind
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.schemas import ByteCount, CleanupReport, FilePublic, Page, RemovalReport
from noslop_backend.share.layout import FileKind

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}", tags=["trash and cleanup"])

Force = Annotated[bool, Query(description="also what a workflow or another file needs")]


class Cleanup(Body):
    """Which intermediates go, oldest first. A dry run tells what would go; that is the default."""

    dry_run: bool = True
    kinds: Annotated[list[IntermediateKind], Field(min_length=1, max_length=3)] | None = None
    older_than_days: Days | None = None
    keep_bytes: ByteCount | None = None


class Restoring(Body):
    """Files to restore."""

    file_ids: FileIds


@router.post(
    "/intermediate/cleanup", operation_id="cleanupIntermediate", dependencies=[WRITE], responses=described(404, 409)
)
async def cleanup_intermediate(project_id: ProjectId, cleanup: Cleanup, state: StateDep) -> CleanupReport:
    """Remove intermediates for good: all, by age, or down to a size. Never one that something needs."""
    return await state.disk.run_async(
        state.storage.cleanup_intermediate,
        project_id,
        kinds=frozenset(FileKind(kind) for kind in cleanup.kinds) if cleanup.kinds else None,
        older_than=older_than(cleanup.older_than_days),
        keep_bytes=cleanup.keep_bytes,
        dry_run=cleanup.dry_run,
    )


@router.get("/trash", operation_id="listTrash", dependencies=[READ], responses=described(404))
def list_trash(
    project_id: ProjectId, state: StateDep, order: InOrder = Order.DESC, cursor: Cursor = None, limit: Limit = 100
) -> Page[FilePublic]:
    """List the files in the trash of a project, by when they came into the project."""
    newest_first = order == Order.DESC
    return state.storage.get_project_files(
        project_id, state=FileState.TRASHED, newest_first=newest_first, cursor=cursor, limit=limit
    )


@router.delete("/files", operation_id="trashFiles", dependencies=[WRITE], responses=described(404, 409))
async def trash_files(
    project_id: ProjectId, file_ids: GivenFileIds, state: StateDep, force: Force = False, key: Key = None
) -> RemovalReport:
    """Move files to the trash. They are charged until they are purged."""
    return await state.disk.run_async(state.storage.trash, project_id, file_ids, force=force, key=key)


@router.delete("/files/{file_id}", operation_id="trashFile", dependencies=[WRITE], responses=described(404, 409))
async def trash_file(
    project_id: ProjectId, file_id: FileId, state: StateDep, force: Force = False, key: Key = None
) -> RemovalReport:
    """Move a file to the trash. It is charged until it is purged."""
    return await state.disk.run_async(state.storage.trash, project_id, [file_id], force=force, key=key)


@router.post("/files/restore", operation_id="restoreFiles", dependencies=[WRITE], responses=described(404, 409))
async def restore_files(project_id: ProjectId, restoring: Restoring, state: StateDep, key: Key = None) -> RemovalReport:
    """Move files from the trash back to where they were."""
    return await state.disk.run_async(state.storage.restore, project_id, restoring.file_ids, key=key)


@router.delete("/trash", operation_id="purgeFiles", dependencies=[ADMIN], responses=described(404, 409))
async def purge_files(
    *,
    project_id: ProjectId,
    state: StateDep,
    file_ids: MaybeFileIds = None,
    older_than_days: Annotated[Days | Absent, Query(description="what was put there so long ago")] = None,
    everything: Annotated[bool, Query(description="all of it; said in so many words")] = False,
    key: Key = None,
) -> RemovalReport:
    """Remove files from the trash for good: those that are named, what was there so long, or everything."""
    if (file_ids is not None) + (older_than_days is not None) + everything != 1:
        raise InvalidRequestError("Send one of file_id, older_than_days and everything=true. Nothing was removed.")
    return await state.disk.run_async(
        state.storage.purge, project_id, file_ids, older_than=older_than(older_than_days), key=key
    )
