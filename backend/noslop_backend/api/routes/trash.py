# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes: intermediates that are cleaned up, and the trash of a project."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from noslop_backend.api.auth import ADMIN, READ, WRITE
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import Body, Cursor, Days, GivenId, Key, Limit, ProjectId, older_than
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes.uploads import IntermediateKind
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.schemas import ByteCount, CleanupReport, FilePublic, Page, RemovalReport
from noslop_backend.share.layout import FileKind

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}", tags=["trash and cleanup"])

#: Of one project, in one request.
FileIds = Annotated[list[GivenId], Field(min_length=1, max_length=1000)]


class Cleanup(Body):
    """Which intermediates go, oldest first. A dry run tells what would go; that is the default."""

    dry_run: bool = True
    kinds: Annotated[list[IntermediateKind], Field(min_length=1, max_length=3)] | None = None
    older_than_days: Days | None = None
    keep_bytes: ByteCount | None = None


class Trashing(Body):
    """Files to put away. `force` takes those too that something needs."""

    file_ids: FileIds
    force: bool = False


class Restoring(Body):
    """Files to bring back."""

    file_ids: FileIds


class Purging(Body):
    """What to remove from the trash for good: these files, or what was there so long, or (said aloud) all of it."""

    file_ids: FileIds | None = None
    older_than_days: Days | None = None
    everything: bool = False


@router.post(
    "/intermediate/cleanup", operation_id="cleanupIntermediate", dependencies=[WRITE], responses=described(404, 409)
)
def cleanup_intermediate(project_id: ProjectId, cleanup: Cleanup, state: StateDep) -> CleanupReport:
    """Remove intermediates for good: all, by age, or down to a size. Never one that something needs."""
    return state.disk.run(
        state.storage.cleanup_intermediate,
        project_id,
        kinds=frozenset(FileKind(kind) for kind in cleanup.kinds) if cleanup.kinds else None,
        older_than=older_than(cleanup.older_than_days),
        keep_bytes=cleanup.keep_bytes,
        dry_run=cleanup.dry_run,
    )


@router.get("/trash", operation_id="listTrash", dependencies=[READ], responses=described(404))
def list_trash(project_id: ProjectId, state: StateDep, cursor: Cursor = None, limit: Limit = 100) -> Page[FilePublic]:
    """List the files in the trash of a project."""
    return state.storage.get_project_files(project_id, state=FileState.TRASHED, cursor=cursor, limit=limit)


@router.post("/trash", operation_id="trashFiles", dependencies=[WRITE], responses=described(404, 409))
def trash_files(project_id: ProjectId, trashing: Trashing, state: StateDep, key: Key = None) -> RemovalReport:
    """Put files away. They are charged until they are purged."""
    return state.disk.run(state.storage.trash, project_id, trashing.file_ids, force=trashing.force, key=key)


@router.post("/trash/restore", operation_id="restoreFiles", dependencies=[WRITE], responses=described(404, 409))
def restore_files(project_id: ProjectId, restoring: Restoring, state: StateDep, key: Key = None) -> RemovalReport:
    """Bring files back to where they were."""
    return state.disk.run(state.storage.restore, project_id, restoring.file_ids, key=key)


@router.post("/trash/purge", operation_id="purgeFiles", dependencies=[ADMIN], responses=described(404, 409))
def purge_files(project_id: ProjectId, purging: Purging, state: StateDep, key: Key = None) -> RemovalReport:
    """Remove files from the trash for good."""
    if (purging.file_ids is not None) + (purging.older_than_days is not None) + purging.everything != 1:
        raise InvalidRequestError("Say one of file_ids, older_than_days, and everything: true. Nothing was removed.")
    return state.disk.run(
        state.storage.purge,
        project_id,
        purging.file_ids,
        older_than=older_than(purging.older_than_days),
        key=key,
    )
