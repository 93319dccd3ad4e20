# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send several files of a project, or all of them, as one zip archive that is made while it is sent."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends, Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from noslop_backend.api.auth import READ, CallerDep
from noslop_backend.api.deps import State, StateDep
from noslop_backend.api.parameters import Kinds, MaybeFileIds, ProjectId
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes.downloads import SAFE_HEADERS, attachment
from noslop_backend.archive.selection import BATCH, Selection, check_files, read_archive, select_files
from noslop_backend.core.errors import InvalidRequestError

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}", tags=["files"])

_ZIP = "application/zip"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
# Generators of clients know the first of these; the second is what is sent.
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The archive. Where it ends before its Content-Length, a file was changed or removed meanwhile.",
        "content": {"application/octet-stream": _BINARY, _ZIP: _BINARY},
    }
}
_HEAD: dict[int | str, dict[str, Any]] = {200: {"description": "What a GET would say of it."}}


async def _reserve_place(state: StateDep, caller: CallerDep) -> AsyncIterator[None]:
    # Until the answer was sent, or the client went away.
    with state.archives.reserve(caller.token_id):
        yield


_PLACE = Depends(_reserve_place)


@router.get(
    "/archive",
    operation_id="downloadArchive",
    dependencies=[READ, _PLACE],
    response_class=Response,
    responses={**described(404, 409), **_CONTENT},
)
async def download_archive(
    project_id: ProjectId, state: StateDep, file_ids: MaybeFileIds = None, kinds: Kinds = None
) -> Response:
    """Send present files of a project as one zip archive: all but sidecars, those of some kinds, or those named.

    Files are called as in the project, with `(2)` behind the name where two have the same, and each is compared with
    its BLAKE3 as it is sent. It is a GET so that a browser saves the answer and HEAD asks for its size.
    """
    selection = await _select(state, project_id, file_ids, kinds)
    return StreamingResponse(_pieces(state, selection), headers=_headers(selection), media_type=_ZIP)


@router.head(
    "/archive",
    operation_id="headArchive",
    dependencies=[READ, _PLACE],
    response_class=Response,
    responses={**described(404, 409), **_HEAD},
)
async def head_archive(
    project_id: ProjectId, state: StateDep, file_ids: MaybeFileIds = None, kinds: Kinds = None
) -> Response:
    """Return the headers of a GET of an archive: its files are looked for on the share, and none is read."""
    selection = await _select(state, project_id, file_ids, kinds)
    return Response(headers=_headers(selection), media_type=_ZIP)


async def _select(state: State, project_id: str, file_ids: MaybeFileIds, kinds: Kinds) -> Selection:
    """Select files and look for all of them on the share, before the first byte is sent."""
    if file_ids and kinds:
        raise InvalidRequestError("Name files with `file_id`, or kinds with `kind`: an archive is selected by one.")
    select = functools.partial(
        select_files,
        state.storage,
        project_id,
        file_ids=file_ids or (),
        kinds=frozenset(kinds) if kinds else None,
    )
    selection = await run_in_threadpool(select)
    for start in range(0, len(selection.files), BATCH):
        await state.disk.call(functools.partial(check_files, state.storage, selection, start))
    return selection


def _headers(selection: Selection) -> dict[str, str]:
    return {
        "Accept-Ranges": "none",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": attachment(selection.project_name, "zip"),
        "Content-Length": str(selection.archive_bytes),
        **SAFE_HEADERS,
    }


async def _pieces(state: State, selection: Selection) -> AsyncIterator[bytes]:
    archive = read_archive(state.storage, selection, state.limits.piece_bytes)
    try:
        # A piece that comes after `call` has given up, since the share hung, is read for no client: it is the last one.
        while piece := await state.disk.call(lambda: next(archive, b""), undo=lambda _late: archive.close()):
            yield piece
    finally:
        state.disk.forget(archive.close)
