# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve workflows and prompts. The body of a save is the document, byte for byte; the rest is in the query."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.exceptions import HTTPException

from noslop_backend.api import content_types
from noslop_backend.api.auth import READ, WRITE
from noslop_backend.api.body import DocumentBody, content
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import (
    Body,
    Cursor,
    DocumentId,
    GivenName,
    GivenVersion,
    InOrder,
    Inputs,
    Key,
    Limit,
    Order,
    Parameters,
    ProjectId,
    parameters_of,
)
from noslop_backend.api.paths import locate
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes.downloads import SAFE_HEADERS, disposition
from noslop_backend.core import json_depth
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.schemas import DocumentPublic, FilePublic, LoadedDocument, Page, SavedVersion, Title, VersionDetails
from noslop_backend.share.layout import FileKind

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}", tags=["workflows and prompts"])

_OBJECT: dict[str, Any] = {"schema": {"type": "object", "additionalProperties": True}}
#: Answers with content.
WORKFLOW: dict[int | str, dict[str, Any]] = {
    200: {"description": "The workflow, byte for byte.", "content": {"application/json": _OBJECT}}
}
PROMPT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The prompt, byte for byte.",
        "content": {"text/plain": {"schema": {"type": "string"}}, "application/json": _OBJECT},
    }
}


class Renaming(Body):
    """What a workflow or prompt is called from now on."""

    name: Title


#: Beside 201.
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The latest version has this content already.", "model": FilePublic}
}
_Type = Annotated[str, Header(alias="Content-Type", include_in_schema=False)]


@router.post(
    "/workflows",
    operation_id="saveWorkflow",
    status_code=201,
    dependencies=[WRITE],
    responses={**described(404, 409), **_UNCHANGED},
    openapi_extra=content("application/json"),
)
async def save_workflow(
    *,
    request: Request,
    response: Response,
    project_id: ProjectId,
    name: GivenName,
    body: DocumentBody,
    state: StateDep,
    inputs: Inputs = None,
    parameters: Parameters = None,
    key: Key = None,
    content_type: _Type = "application/json",
) -> FilePublic:
    """Save the next version of the workflow of this name; with the content of the latest, that one is the answer."""
    if not content_types.is_json(content_type):
        _expect(content_type, "application/json")
    details = VersionDetails(inputs=inputs or (), parameters=parameters_of(parameters), key=key)
    saved = await state.disk.run_async(state.storage.save_version, project_id, FileKind.WORKFLOW, name, body, **details)
    return _answer(request, response, "workflows", saved)


@router.post(
    "/prompts",
    operation_id="savePrompt",
    status_code=201,
    dependencies=[WRITE],
    responses={**described(404, 409), **_UNCHANGED},
    openapi_extra=content(
        "text/plain",
        "application/json",
        schemas={"application/json": {"oneOf": [{"type": "string"}, {"type": "object", "additionalProperties": True}]}},
    ),
)
async def save_prompt(
    *,
    request: Request,
    response: Response,
    project_id: ProjectId,
    name: GivenName,
    body: DocumentBody,
    state: StateDep,
    inputs: Inputs = None,
    parameters: Parameters = None,
    key: Key = None,
    content_type: _Type = "text/plain",
) -> FilePublic:
    """Save the next version of the prompt of this name; with the content of the latest, that one is the answer.

    As `text/plain` the body is the text, in UTF-8. As JSON it is a text (`"a cat"`) or an object, and is parsed.
    """
    if not content_types.is_json(content_type):
        _expect(content_type, "text/plain", "application/json")
    details = VersionDetails(inputs=inputs or (), parameters=parameters_of(parameters), key=key)

    def save() -> SavedVersion:
        prompt = _parse_prompt(body) if content_types.is_json(content_type) else body
        return state.storage.save_version(project_id, FileKind.PROMPT, name, prompt, **details)

    saved = await state.disk.call(save)
    return _answer(request, response, "prompts", saved)


@router.get("/workflows", operation_id="listWorkflows", dependencies=[READ], responses=described(404))
def list_workflows(
    project_id: ProjectId, state: StateDep, order: InOrder = Order.DESC, cursor: Cursor = None, limit: Limit = 100
) -> Page[DocumentPublic]:
    """List the workflows of a project, by when their first versions were saved."""
    newest_first = order == Order.DESC
    return state.storage.list_documents(
        project_id, FileKind.WORKFLOW, newest_first=newest_first, cursor=cursor, limit=limit
    )


@router.get("/prompts", operation_id="listPrompts", dependencies=[READ], responses=described(404))
def list_prompts(
    project_id: ProjectId, state: StateDep, order: InOrder = Order.DESC, cursor: Cursor = None, limit: Limit = 100
) -> Page[DocumentPublic]:
    """List the prompts of a project, by when their first versions were saved."""
    newest_first = order == Order.DESC
    return state.storage.list_documents(
        project_id, FileKind.PROMPT, newest_first=newest_first, cursor=cursor, limit=limit
    )


@router.get(
    "/workflows/content",
    operation_id="loadWorkflowByName",
    dependencies=[READ],
    response_class=Response,
    responses={**described(404), **WORKFLOW},
)
async def load_workflow_by_name(
    project_id: ProjectId, name: GivenName, state: StateDep, version: GivenVersion = None
) -> Response:
    """Load a version of the workflow of this name, exactly as it was saved."""
    return loaded(await state.disk.run_async(state.storage.load_workflow, project_id, name, version=version))


@router.get(
    "/prompts/content",
    operation_id="loadPromptByName",
    dependencies=[READ],
    response_class=Response,
    responses={**described(404), **PROMPT},
)
async def load_prompt_by_name(
    project_id: ProjectId, name: GivenName, state: StateDep, version: GivenVersion = None
) -> Response:
    """Load a version of the prompt of this name, exactly as it was saved."""
    return loaded(await state.disk.run_async(state.storage.load_prompt, project_id, name, version=version))


@router.get("/workflows/{document_id}", operation_id="getWorkflow", dependencies=[READ], responses=described(404))
def get_workflow(project_id: ProjectId, document_id: DocumentId, state: StateDep) -> DocumentPublic:
    """Return a workflow: its name, and how many versions it has."""
    return state.storage.get_document(project_id, FileKind.WORKFLOW, document_id)


@router.get("/prompts/{document_id}", operation_id="getPrompt", dependencies=[READ], responses=described(404))
def get_prompt(project_id: ProjectId, document_id: DocumentId, state: StateDep) -> DocumentPublic:
    """Return a prompt: its name, and how many versions it has."""
    return state.storage.get_document(project_id, FileKind.PROMPT, document_id)


@router.patch(
    "/workflows/{document_id}",
    operation_id="renameWorkflow",
    dependencies=[WRITE],
    responses=described(404, 409),
)
async def rename_workflow(
    project_id: ProjectId, document_id: DocumentId, renaming: Renaming, state: StateDep, key: Key = None
) -> DocumentPublic:
    """Rename a workflow. Its id and its versions stay, and they keep the names under which they were saved."""
    return await state.disk.run_async(
        state.storage.rename_document, project_id, FileKind.WORKFLOW, document_id, renaming.name, key=key
    )


@router.patch(
    "/prompts/{document_id}", operation_id="renamePrompt", dependencies=[WRITE], responses=described(404, 409)
)
async def rename_prompt(
    project_id: ProjectId, document_id: DocumentId, renaming: Renaming, state: StateDep, key: Key = None
) -> DocumentPublic:
    """Rename a prompt. Its id and its versions stay, and they keep the names under which they were saved."""
    return await state.disk.run_async(
        state.storage.rename_document, project_id, FileKind.PROMPT, document_id, renaming.name, key=key
    )


@router.get(
    "/workflows/{document_id}/content",
    operation_id="loadWorkflow",
    dependencies=[READ],
    response_class=Response,
    responses={**described(404), **WORKFLOW},
)
async def load_workflow(project_id: ProjectId, document_id: DocumentId, state: StateDep) -> Response:
    """Load the latest version of a workflow, exactly as it was saved."""
    return loaded(await state.disk.run_async(state.storage.load_workflow, project_id, document_id=document_id))


@router.get(
    "/prompts/{document_id}/content",
    operation_id="loadPrompt",
    dependencies=[READ],
    response_class=Response,
    responses={**described(404), **PROMPT},
)
async def load_prompt(project_id: ProjectId, document_id: DocumentId, state: StateDep) -> Response:
    """Load the latest version of a prompt, exactly as it was saved."""
    return loaded(await state.disk.run_async(state.storage.load_prompt, project_id, document_id=document_id))


def _answer(request: Request, response: Response, documents: str, saved: SavedVersion) -> FilePublic:
    """Answer a save: 201 with a new version, 200 with the one that has the same content."""
    file = saved.file
    response.status_code = 201 if saved.is_new else 200
    response.headers["Location"] = locate(
        request, f"/projects/{file.project_id}/{documents}/{file.document_id}/versions/{file.version}"
    )
    return file


def loaded(document: LoadedDocument) -> Response:
    """Answer with the content of a version."""
    file = document.file
    headers = {
        "ETag": f'"{file.blake3}"',
        "Content-Disposition": disposition(file),
        "X-NoSlop-Document": document.document.id,
        "X-NoSlop-Version": str(file.version),
        **SAFE_HEADERS,
    }
    return Response(document.content, headers=headers, media_type=file.content_type)


def _parse_prompt(body: bytes) -> str | dict[str, Any]:
    """Return the text or object that a prompt is as JSON.

    Raises:
        InvalidRequestError: it is no JSON, or something else.
    """
    try:
        prompt = json_depth.loads(body)
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"JSON is in UTF-8: {json_depth.describe_encoding(body)}.") from error
    except json.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The body is sent as JSON and is none (line {error.lineno}, column {error.colno}: {error.msg}). Send a "
            "text as text/plain, or in quotes."
        ) from error
    except ValueError as error:
        raise InvalidRequestError(f"The prompt cannot be read as JSON: {error}.") from error
    if not isinstance(prompt, str | dict):
        raise InvalidRequestError("A prompt is a text or a JSON object. Send a text as text/plain, or in quotes.")
    return prompt


def _expect(content_type: str, *expected: str) -> None:
    essence = content_types.essence(content_type)
    # What curl sends with --data-binary where no type is named.
    if essence not in {*expected, "application/x-www-form-urlencoded", "application/octet-stream", ""}:
        raise HTTPException(415, f"The body is to be {' or '.join(expected)}, not {essence}.")
