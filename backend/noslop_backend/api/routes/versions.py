# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the versions of workflows and prompts."""

from __future__ import annotations

from fastapi import APIRouter, Response

from noslop_backend.api.auth import READ
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import Cursor, DocumentId, InOrder, Limit, Order, ProjectId, Version
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes.documents import PROMPT, WORKFLOW, loaded
from noslop_backend.schemas import FilePublic, Page
from noslop_backend.share.layout import FileKind

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}", tags=["workflows and prompts"])


@router.get(
    "/workflows/{document_id}/versions",
    operation_id="listWorkflowVersions",
    dependencies=[READ],
    responses=described(404),
)
def list_workflow_versions(
    *,
    project_id: ProjectId,
    document_id: DocumentId,
    state: StateDep,
    order: InOrder = Order.DESC,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[FilePublic]:
    """List the present versions of a workflow."""
    newest_first = order == Order.DESC
    return state.storage.list_versions(
        project_id, FileKind.WORKFLOW, document_id, newest_first=newest_first, cursor=cursor, limit=limit
    )


@router.get(
    "/workflows/{document_id}/versions/{version}",
    operation_id="getWorkflowVersion",
    dependencies=[READ],
    responses=described(404),
)
def get_workflow_version(
    project_id: ProjectId, document_id: DocumentId, version: Version, state: StateDep
) -> FilePublic:
    """Return what is known of a version of a workflow."""
    return state.storage.get_version(project_id, FileKind.WORKFLOW, document_id, version)


@router.get(
    "/workflows/{document_id}/versions/{version}/content",
    operation_id="loadWorkflowVersion",
    dependencies=[READ],
    response_class=Response,
    responses={**described(404), **WORKFLOW},
)
async def load_workflow_version(
    project_id: ProjectId, document_id: DocumentId, version: Version, state: StateDep
) -> Response:
    """Load a version of a workflow, exactly as it was saved."""
    return loaded(
        await state.disk.run_async(state.storage.load_workflow, project_id, document_id=document_id, version=version)
    )


@router.get(
    "/prompts/{document_id}/versions",
    operation_id="listPromptVersions",
    dependencies=[READ],
    responses=described(404),
)
def list_prompt_versions(
    *,
    project_id: ProjectId,
    document_id: DocumentId,
    state: StateDep,
    order: InOrder = Order.DESC,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[FilePublic]:
    """List the present versions of a prompt."""
    newest_first = order == Order.DESC
    return state.storage.list_versions(
        project_id, FileKind.PROMPT, document_id, newest_first=newest_first, cursor=cursor, limit=limit
    )


@router.get(
    "/prompts/{document_id}/versions/{version}",
    operation_id="getPromptVersion",
    dependencies=[READ],
    responses=described(404),
)
def get_prompt_version(project_id: ProjectId, document_id: DocumentId, version: Version, state: StateDep) -> FilePublic:
    """Return what is known of a version of a prompt."""
    return state.storage.get_version(project_id, FileKind.PROMPT, document_id, version)


@router.get(
    "/prompts/{document_id}/versions/{version}/content",
    operation_id="loadPromptVersion",
    dependencies=[READ],
    response_class=Response,
    responses={**described(404), **PROMPT},
)
async def load_prompt_version(
    project_id: ProjectId, document_id: DocumentId, version: Version, state: StateDep
) -> Response:
    """Load a version of a prompt, exactly as it was saved."""
    return loaded(
        await state.disk.run_async(state.storage.load_prompt, project_id, document_id=document_id, version=version)
    )
