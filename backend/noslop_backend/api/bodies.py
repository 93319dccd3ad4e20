# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies that are content and not JSON about it: read piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from noslop_backend.errors import InvalidRequestError

from .limits import set_body_limit
from .state import StateDep


async def pieces(request: Request, piece_bytes: int, idle_s: float) -> AsyncIterator[bytes]:
    """Give a body in pieces of this size, the last one shorter. Never holds more than one.

    Raises:
        HTTPException: the client sends nothing any more.
    """
    held, size = [], 0
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise HTTPException(
                408, f"Nothing came for {idle_s:g} s, so the upload was given up. Nothing was kept: send it again."
            ) from error
        if chunk is None:
            break
        held.append(chunk)
        size += len(chunk)
        if size >= piece_bytes:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def announced_length(request: Request) -> int | None:
    """How long the body will be, if the client says so."""
    told = request.headers.get("content-length")
    if told is None:
        return None
    if not told.isascii() or not told.isdigit() or len(told) > 18:
        raise InvalidRequestError("Content-Length is to be a number of bytes.")
    return int(told)


async def _document(request: Request, state: StateDep) -> bytes:
    limit = state.storage.settings.max_document_bytes
    set_body_limit(request.scope, limit)
    return b"".join([piece async for piece in pieces(request, state.limits.piece_bytes, state.limits.body_idle_s)])


#: The body of a workflow or a prompt: small enough to be held, and taken as it is.
DocumentBody = Annotated[bytes, Depends(_document)]


_SCHEMAS: dict[str, dict[str, str]] = {
    "application/json": {"type": "object"},
    "application/octet-stream": {"type": "string", "format": "binary"},
    "text/plain": {"type": "string"},
}


def content(*media_types: str) -> dict[str, object]:
    """Describe a raw body for OpenAPI."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": _SCHEMAS[kind]} for kind in media_types}}}
