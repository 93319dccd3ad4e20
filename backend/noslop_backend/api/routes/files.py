# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve files: listed, read, described, promoted."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from noslop_backend.api.auth import READ, WRITE, CallerDep
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import (
    INPUTS_LIMIT,
    Absent,
    Body,
    Cursor,
    FileId,
    FileIds,
    GivenId,
    GivenProjectId,
    InOrder,
    Key,
    Kinds,
    Limit,
    Order,
    ProjectId,
)
from noslop_backend.api.paths import locate
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes import downloads
from noslop_backend.core.enums import FileState
from noslop_backend.schemas import FilePublic, FileUpdate, JsonObject, MoveReport, Page, Title
from noslop_backend.share.layout import INTERMEDIATE, MEDIA

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}", tags=["files"])

# Any type, and any bytes. Generators of clients know the first of these.
_RAW: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}, "*/*": {}}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "All of it.", "content": _RAW},
    206: {"description": "The range that was asked for.", "content": _RAW},
    304: {"description": "The client has this content already."},
}
_HEAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "What a GET would say of it."},
    304: {"description": "The client has this content already."},
}


class Described(Body):
    """What is to be known of a file from now on."""

    parameters: JsonObject
    inputs: Annotated[list[GivenId], Field(max_length=INPUTS_LIMIT, default_factory=list)]


class Moving(Body):
    """Files, and the project that they go to."""

    file_ids: FileIds
    to_project_id: GivenProjectId


class Promotion(Body):
    """How the final is to be called; by default like its source."""

    name: Title | None = None


@router.get("/files", operation_id="listFiles", dependencies=[READ], responses=described(404))
def list_files(
    *,
    project_id: ProjectId,
    state: StateDep,
    kinds: Kinds = None,
    file_state: Annotated[FileState, Query(alias="state")] = FileState.PRESENT,
    document_id: Annotated[GivenId | Absent, Query(description="versions of this workflow or prompt")] = None,
    of_file_id: Annotated[GivenId | Absent, Query(description="sidecars of this file")] = None,
    order: InOrder = Order.DESC,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[FilePublic]:
    """List files of a project. Sidecars come only when asked for."""
    return state.storage.get_project_files(
        project_id,
        kinds=frozenset(kinds) if kinds else None,
        state=file_state,
        document_id=document_id,
        of_file_id=of_file_id,
        newest_first=order == Order.DESC,
        cursor=cursor,
        limit=limit,
    )


@router.get("/media", operation_id="listMedia", dependencies=[READ], responses=described(404))
def list_media(
    project_id: ProjectId, state: StateDep, order: InOrder = Order.DESC, cursor: Cursor = None, limit: Limit = 100
) -> Page[FilePublic]:
    """List images, videos, audio, other files and finals of a project."""
    newest_first = order == Order.DESC
    return state.storage.get_project_files(
        project_id, kinds=MEDIA, newest_first=newest_first, cursor=cursor, limit=limit
    )


@router.get("/intermediate", operation_id="listIntermediate", dependencies=[READ], responses=described(404))
def list_intermediate(
    project_id: ProjectId, state: StateDep, order: InOrder = Order.DESC, cursor: Cursor = None, limit: Limit = 100
) -> Page[FilePublic]:
    """List latents, masks and frames of a project."""
    newest_first = order == Order.DESC
    return state.storage.get_project_files(
        project_id, kinds=INTERMEDIATE, newest_first=newest_first, cursor=cursor, limit=limit
    )


@router.post("/files/move", operation_id="moveFiles", dependencies=[WRITE], responses=described(404, 409))
async def move_files(
    project_id: ProjectId, moving: Moving, caller: CallerDep, state: StateDep, key: Key = None
) -> MoveReport:
    """Move media and intermediates to another project. They keep their ids and labels, and get other paths."""
    caller.require_project(moving.to_project_id)
    return await state.disk.run_async(
        state.storage.move_files, project_id, moving.file_ids, moving.to_project_id, key=key
    )


@router.get("/files/{file_id}", operation_id="getFile", dependencies=[READ], responses=described(404))
def get_file(project_id: ProjectId, file_id: FileId, state: StateDep) -> FilePublic:
    """Return what is known of a file, in whatever state it is."""
    return state.storage.get_file(project_id, file_id)


@router.patch("/files/{file_id}", operation_id="updateFile", dependencies=[WRITE], responses=described(404, 409))
async def update_file(
    project_id: ProjectId, file_id: FileId, update: FileUpdate, state: StateDep, key: Key = None
) -> FilePublic:
    """Change the name, tags or stars of a file. Its path stays, and so does whatever refers to it."""
    return await state.disk.run_async(state.storage.update_file, project_id, file_id, update, key=key)


@router.get(
    "/files/{file_id}/content",
    operation_id="downloadFile",
    dependencies=[READ],
    response_class=Response,
    responses={**described(404, 416), **_CONTENT},
)
async def download_file(project_id: ProjectId, file_id: FileId, request: Request, state: StateDep) -> Response:
    """Return a file's content, or a range of it. The ETag is the content's BLAKE3, which never changes."""
    opened = await state.disk.call(
        lambda: state.storage.open_file(project_id, file_id), undo=lambda late: late.stream.close()
    )
    unchanged = downloads.not_modified(request, opened.file)
    if unchanged is not None:
        state.disk.forget(opened.stream.close)
        return unchanged
    return downloads.stream(request, state, opened)


@router.head(
    "/files/{file_id}/content",
    operation_id="headFile",
    dependencies=[READ],
    response_class=Response,
    responses={**described(404), **_HEAD},
)
async def head_file(project_id: ProjectId, file_id: FileId, request: Request, state: StateDep) -> Response:
    """Return the headers of a GET of a file's content: it is opened, so 404 is true of both."""
    opened = await state.disk.call(
        lambda: state.storage.open_file(project_id, file_id), undo=lambda late: late.stream.close()
    )
    state.disk.forget(opened.stream.close)
    return downloads.head(request, opened.file)


@router.get("/files/{file_id}/metadata", operation_id="loadMetadata", dependencies=[READ], responses=described(404))
async def load_metadata(project_id: ProjectId, file_id: FileId, state: StateDep) -> dict[str, Any]:
    """Return the newest sidecar of a file as it is on the share, and below `embedded` the texts that the file has."""
    # Written as JSON in the thread: it may be large, and the loop has other requests.
    answer: Any = await state.disk.call(lambda: JSONResponse(state.storage.load_metadata(project_id, file_id)))
    return cast(dict[str, Any], answer)


@router.post(
    "/files/{file_id}/metadata",
    operation_id="saveMetadata",
    status_code=201,
    dependencies=[WRITE],
    responses=described(404, 409),
)
async def save_metadata(
    *,
    project_id: ProjectId,
    file_id: FileId,
    metadata: Described,
    state: StateDep,
    request: Request,
    response: Response,
    key: Key = None,
) -> FilePublic:
    """Replace the parameters of a file, and add inputs. The answer is the further sidecar that holds them."""
    sidecar = await state.disk.run_async(
        state.storage.save_metadata, project_id, file_id, metadata.parameters, inputs=metadata.inputs, key=key
    )
    response.headers["Location"] = locate(request, f"/projects/{project_id}/files/{file_id}/metadata")
    return sidecar


@router.post(
    "/files/{file_id}/promote",
    operation_id="promoteFile",
    status_code=201,
    dependencies=[WRITE],
    responses=described(404, 409),
)
async def promote_file(
    *,
    project_id: ProjectId,
    file_id: FileId,
    state: StateDep,
    request: Request,
    response: Response,
    promotion: Promotion | None = None,
    key: Key = None,
) -> FilePublic:
    """Make a final of a media file or an intermediate: a link that costs nothing, where the share makes links."""
    name = promotion.name if promotion else None
    file = await state.disk.run_async(state.storage.promote_to_final, project_id, file_id, name=name, key=key)
    response.headers["Location"] = locate(request, f"/projects/{project_id}/files/{file.id}")
    return file
