# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Media and intermediates come in: the body is the file, streamed to the share and never held as a whole."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from noslop_backend.api.admission import CALLER
from noslop_backend.api.auth import WRITE
from noslop_backend.api.body import announced_length, content, pieces
from noslop_backend.api.deps import State, StateDep
from noslop_backend.api.incoming import set_body_limit
from noslop_backend.api.parameters import (
    Absent,
    GivenName,
    Hash,
    Inputs,
    Inspect,
    Key,
    Parameters,
    ProjectId,
    parameters_of,
)
from noslop_backend.api.paths import locate
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.schemas import FilePublic
from noslop_backend.services.tokens import Caller
from noslop_backend.services.upload_session import Upload
from noslop_backend.services.upload_steps import Steps
from noslop_backend.share.layout import FileKind

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}", tags=["files"])

_KIND = "by default what the content says; `other` takes any content"
_ANSWERS = described(404, 409)


class MediaKind(StrEnum):
    """Kinds of generated media."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    OTHER = "other"


class IntermediateKind(StrEnum):
    """Kinds of intermediates."""

    LATENT = "latent"
    MASK = "mask"
    FRAME = "frame"


@router.post(
    "/media",
    operation_id="uploadMedia",
    status_code=201,
    dependencies=[WRITE],
    responses=_ANSWERS,
    openapi_extra=content("application/octet-stream", "multipart/form-data"),
)
async def upload_media(
    *,
    project_id: ProjectId,
    name: GivenName,
    request: Request,
    response: Response,
    state: StateDep,
    kind: Annotated[MediaKind | Absent, Query(description=_KIND)] = None,
    blake3: Hash = None,
    inputs: Inputs = None,
    parameters: Parameters = None,
    inspect: Inspect = True,
    key: Key = None,
) -> FilePublic:
    """Save an image, a video, audio or another file. The body is the file, or a form with the file as its only part.

    The Content-Length of a file reserves all of it at once. Content of an unknown type is kept as `other`, and only
    ever downloaded, when `kind` says so or the name has an extension.
    """
    length = announced_length(request)
    return await _receive(
        request,
        response,
        state,
        lambda: state.storage.begin_generated_media(
            project_id,
            name,
            kind=None if kind is None else FileKind(kind),
            length=length,
            expected_blake3=blake3,
            inputs=inputs or (),
            parameters=parameters_of(parameters),
            inspect=inspect,
            key=key,
        ),
    )


@router.post(
    "/intermediate",
    operation_id="uploadIntermediate",
    status_code=201,
    dependencies=[WRITE],
    responses=_ANSWERS,
    openapi_extra=content("application/octet-stream", "multipart/form-data"),
)
async def upload_intermediate(
    *,
    project_id: ProjectId,
    kind: IntermediateKind,
    name: GivenName,
    request: Request,
    response: Response,
    state: StateDep,
    blake3: Hash = None,
    inspect: Inspect = True,
    key: Key = None,
) -> FilePublic:
    """Save a latent, a mask or a frame: something that can be made again. The body is the file, or a form with it."""
    length = announced_length(request)
    return await _receive(
        request,
        response,
        state,
        lambda: state.storage.begin_intermediate(
            project_id, FileKind(kind), name, length=length, expected_blake3=blake3, inspect=inspect, key=key
        ),
    )


async def _receive(request: Request, response: Response, state: State, begin: Callable[[], Upload]) -> FilePublic:
    """Stream a body into an upload: while one piece goes to the share, the next one comes from the network."""
    caller: Caller = request.scope[CALLER]
    with state.uploads.reserve(caller.token_id):
        set_body_limit(request.scope, None)
        upload = await state.disk.call(begin, undo=Upload.abort)
        if upload.answer is None:
            file = await _fill(request, state, upload)
        else:
            # Sent again with its key. The rest of the body is read and thrown away by the server.
            file = upload.answer
    response.headers["Location"] = locate(request, f"/projects/{file.project_id}/files/{file.id}")
    return file


async def _fill(request: Request, state: State, upload: Upload) -> FilePublic:
    steps = Steps(upload)
    writing: asyncio.Task[None] | None = None
    try:
        async for piece in pieces(request, state.limits.piece_bytes):
            if writing is not None:
                await writing
            writing = asyncio.create_task(state.disk.call(functools.partial(steps.write, piece)))
        if writing is not None:
            await writing
        return await state.disk.call(steps.finish)
    except BaseException:
        if writing is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        if steps.give_up():
            state.disk.forget(upload.abort)
        raise
