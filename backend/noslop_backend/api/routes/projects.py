# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve projects: made, listed, changed, moved to the trash, restored, removed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from noslop_backend.api.auth import ADMIN, READ, READ_FILTERED, WRITE, CallerDep, require_admin
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import (
    Body,
    Cursor,
    IfMatch,
    InOrder,
    Key,
    Limit,
    Order,
    ProjectId,
    etag,
    expected_revision,
)
from noslop_backend.api.paths import locate
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.core.enums import ProjectState
from noslop_backend.schemas import (
    ByteCount,
    Page,
    ProjectCreate,
    ProjectPublic,
    ProjectUpdate,
    RemovalReport,
    StorageStats,
)

router = APIRouter(route_class=StrictRoute, prefix="/projects", tags=["projects"])
trash_router = APIRouter(route_class=StrictRoute, prefix="/trash", tags=["projects"])


class Quota(Body):
    """How many bytes may be used; null for no limit."""

    quota_bytes: ByteCount | None


class QuotaPublic(Quota):
    """A quota, and what is used of it. `reserved_bytes` are set aside for writes that are under way."""

    used_bytes: int
    reserved_bytes: int
    free_bytes: int | None


@router.post("", operation_id="createProject", status_code=201, dependencies=[WRITE], responses=described(409))
async def create_project(
    *, create: ProjectCreate, caller: CallerDep, state: StateDep, request: Request, response: Response, key: Key = None
) -> ProjectPublic:
    """Make a project: its row, its directories and its metadata.json. A quota of its own needs the scope admin."""
    if create.quota_bytes is not None:
        await run_in_threadpool(require_admin, request, state, caller)
    project = await state.disk.run_async(state.storage.create_project_structure, create, key=key)
    response.headers["Location"] = locate(request, f"/projects/{project.id}")
    return _tagged(project, response)


@router.get("", operation_id="listProjects", dependencies=[READ_FILTERED])
def list_projects(
    *,
    state: StateDep,
    caller: CallerDep,
    project_state: Annotated[ProjectState, Query(alias="state")] = ProjectState.PRESENT,
    order: InOrder = Order.DESC,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[ProjectPublic]:
    """List the projects that the token is for."""
    newest_first = order == Order.DESC
    return state.storage.list_projects(
        state=project_state, only=caller.projects, newest_first=newest_first, cursor=cursor, limit=limit
    )


@router.get("/{project_id}", operation_id="getProject", dependencies=[READ], responses=described(404))
def get_project(project_id: ProjectId, state: StateDep, response: Response) -> ProjectPublic:
    """Return one project, in whatever state it is. Its ETag is its revision, for If-Match."""
    return _tagged(state.storage.get_project(project_id), response)


@router.patch("/{project_id}", operation_id="updateProject", dependencies=[WRITE], responses=described(404, 409, 412))
async def update_project(
    *,
    project_id: ProjectId,
    update: ProjectUpdate,
    caller: CallerDep,
    state: StateDep,
    request: Request,
    response: Response,
    if_match: IfMatch = None,
    key: Key = None,
) -> ProjectPublic:
    """Change what is known about a project, and its metadata.json. What is not sent stays; a quota needs an admin."""
    if "quota_bytes" in update.model_fields_set:
        await run_in_threadpool(require_admin, request, state, caller)
    expected = expected_revision(if_match)
    return _tagged(
        await state.disk.run_async(
            state.storage.update_project_metadata, project_id, update, expected_revision=expected, key=key
        ),
        response,
    )


@router.delete("/{project_id}", operation_id="trashProject", dependencies=[WRITE], responses=described(404, 409))
async def trash_project(project_id: ProjectId, state: StateDep, response: Response) -> ProjectPublic:
    """Move a whole project to the trash: it accepts no writes, and its files stay and are still charged."""
    return _tagged(await state.disk.run_async(state.storage.trash_project, project_id), response)


@router.post(
    "/{project_id}/restore", operation_id="restoreProject", dependencies=[WRITE], responses=described(404, 409)
)
async def restore_project(project_id: ProjectId, state: StateDep, response: Response) -> ProjectPublic:
    """Bring a project back from the trash."""
    return _tagged(await state.disk.run_async(state.storage.restore_project, project_id), response)


@trash_router.delete("/{project_id}", operation_id="purgeProject", dependencies=[ADMIN], responses=described(404, 409))
async def purge_project(project_id: ProjectId, state: StateDep) -> RemovalReport:
    """Remove a project that is in the trash for good, with all its files."""
    return await state.disk.run_async(state.storage.purge_project, project_id)


@router.get("/{project_id}/stats", operation_id="getProjectStats", dependencies=[READ], responses=described(404))
def get_project_stats(project_id: ProjectId, state: StateDep) -> StorageStats:
    """Return what a project has and costs, from counters: as fast for a million files as for ten."""
    return state.storage.get_storage_stats(project_id)


@router.get("/{project_id}/quota", operation_id="getProjectQuota", dependencies=[READ], responses=described(404))
def get_project_quota(project_id: ProjectId, state: StateDep) -> QuotaPublic:
    """Return a project's quota and what is used of it."""
    return _quota(state.storage.get_storage_stats(project_id))


@router.put("/{project_id}/quota", operation_id="setProjectQuota", dependencies=[ADMIN], responses=described(404, 409))
async def set_project_quota(project_id: ProjectId, quota: Quota, state: StateDep) -> QuotaPublic:
    """Limit a project. What is there stays, even when it is more."""

    def change() -> StorageStats:
        state.storage.update_project_metadata(project_id, ProjectUpdate(quota_bytes=quota.quota_bytes))
        return state.storage.get_storage_stats(project_id)

    return _quota(await state.disk.call(change))


def _quota(stats: StorageStats) -> QuotaPublic:
    return QuotaPublic(
        quota_bytes=stats.quota_bytes,
        used_bytes=stats.used_bytes,
        reserved_bytes=stats.reserved_bytes,
        free_bytes=stats.free_bytes,
    )


def _tagged(project: ProjectPublic, response: Response) -> ProjectPublic:
    response.headers["ETag"] = etag(project.revision)
    return project
