# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies that are content and not JSON about it: read piece by piece."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from noslop_backend.api.auth import CallerDep
from noslop_backend.api.deps import StateDep
from noslop_backend.api.incoming import set_body_limit
from noslop_backend.core import json_depth
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.core.json_depth import LARGE_BYTES

#: This much JSON is parsed in the event loop: a thread would take longer.
_SMALL_BYTES = 64 * 1024
#: Objects and arrays of a body. They are validated in the event loop, which takes three microseconds for each.
_CONTAINERS_LIMIT = 40_000


async def pieces(request: Request, piece_bytes: int) -> AsyncIterator[bytes]:
    """Give a body in pieces of this size, the last one shorter. Never holds more than one.

    Raises:
        HTTPException: it is too long, or comes too slowly.
    """
    held, size = [], 0
    async for chunk in request.stream():
        held.append(chunk)
        size += len(chunk)
        if size >= piece_bytes:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


class _JsonRequest(Request):
    """A request whose JSON is counted before it is parsed, and not parsed in the event loop where that takes long."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON
        body = await self.body()
        try:
            if len(body) <= _SMALL_BYTES:
                return json_depth.loads(body, containers=_CONTAINERS_LIMIT)
            parse = functools.partial(json_depth.loads, body, containers=_CONTAINERS_LIMIT)
            return await anyio.to_thread.run_sync(parse)
        except json_depth.TooLargeError as error:
            raise HTTPException(422, f"The body is too large to be read as JSON: {error}.") from error


class JsonRoute(APIRoute):
    """A route whose requests are counted before they are parsed. For the `route_class` of a router."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make what answers requests."""
        handler = super().get_route_handler()

        async def counted(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return counted


def announced_length(request: Request) -> int | None:
    """How long the body will be, if the client says so."""
    length = request.headers.get("content-length")
    if length is None:
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


_SCHEMAS: dict[str, dict[str, str]] = {
    "application/json": {"type": "object"},
    "application/octet-stream": {"type": "string", "format": "binary"},
    "text/plain": {"type": "string"},
}


def content(*media_types: str) -> dict[str, object]:
    """Describe a raw body for OpenAPI."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": _SCHEMAS[kind]} for kind in media_types}}}
