# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read bodies that are content and not JSON about it, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from noslop_backend.api import content_types, multipart
from noslop_backend.api.auth import CallerDep
from noslop_backend.api.deps import StateDep
from noslop_backend.api.incoming import set_body_limit
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.core.json_depth import LARGE_BYTES


async def pieces(request: Request, piece_bytes: int) -> AsyncIterator[bytes]:
    """Yield the file that a request brings in pieces of this size, the last one shorter. Never holds more than one.

    The body is the file, or a form with the file in it.

    Raises:
        HTTPException: it is too long, comes too slowly, or is another kind of multipart message (415).
        InvalidRequestError: it is empty, or a form that is more than a file.
    """
    held, size, total = [], 0, 0
    async for chunk in _file_of(request):
        held.append(chunk)
        size += len(chunk)
        if size >= piece_bytes:
            yield b"".join(held)
            total += size
            held, size = [], 0
    if not total + size:
        raise InvalidRequestError("The body is empty: send the content of the file as the body of the request.")
    if size:
        yield b"".join(held)


def _file_of(request: Request) -> AsyncIterator[bytes]:
    content_type = request.headers.get("content-type", "")
    essence = content_types.essence(content_type)
    if essence == multipart.MEDIA_TYPE:
        return multipart.FormFile(content_type).read(request.stream())
    if essence.startswith("multipart/"):
        raise HTTPException(415, f"{essence} is not taken. Send the file as the body, or as multipart/form-data.")
    return request.stream()


def announced_length(request: Request) -> int | None:
    """Return the size in bytes that the client announces for the file; None for a form, which is longer than that."""
    length = request.headers.get("content-length")
    if length is None or request.headers.get("content-type", "").lower().startswith("multipart/"):
        return None
    if not length.isascii() or not length.isdigit() or len(length) > 18:
        raise InvalidRequestError("Content-Length is to be a number of bytes.")
    return int(length)


async def _document(request: Request, state: StateDep, caller: CallerDep) -> AsyncIterator[bytes]:
    set_body_limit(request.scope, state.storage.settings.max_document_bytes)
    held, size = [], 0
    with ExitStack() as stack:
        async for chunk in request.stream():
            if size <= LARGE_BYTES < size + len(chunk):
                stack.enter_context(state.large_documents.reserve(caller.token_id))
            held.append(chunk)
            size += len(chunk)
        yield b"".join(held)


#: The body of a workflow or a prompt: small enough to be held, and taken as it is.
DocumentBody = Annotated[bytes, Depends(_document)]


_SCHEMAS: dict[str, dict[str, object]] = {
    "application/json": {"type": "object", "additionalProperties": True},
    "application/octet-stream": {"type": "string", "format": "binary"},
    "multipart/form-data": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    },
    "text/plain": {"type": "string"},
}


def content(*media_types: str, schemas: dict[str, dict[str, object]] | None = None) -> dict[str, object]:
    """Describe a raw body for OpenAPI, with other schemas than the usual ones where they are given, by media type."""
    all_schemas = _SCHEMAS | (schemas or {})
    described = {kind: {"schema": all_schemas[kind]} for kind in media_types}
    return {"requestBody": {"required": True, "content": described}}
