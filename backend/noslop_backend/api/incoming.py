# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit the bodies of requests while they come in: their size, their speed, and what is read after a refusal."""

from __future__ import annotations

import asyncio
import contextlib
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noslop_backend.api.limits import MIB, Limits

_KEY = "noslop.body"
#: Of a body that is refused, this much is read and thrown away, so that the client reads its answer before the end of
#: the connection: bytes, and seconds. Less without a token.
_LINGER = (64 * MIB, 10.0)
_LINGER_WITHOUT_TOKEN = (256 * 1024, 1.0)


class BodyLimit:
    """Counts what comes in, and refuses a body that is longer than its route takes, or comes too slowly.

    The limit is that of JSON until the route calls `set_body_limit`: nothing is read before.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        incoming = scope[_KEY] = _Incoming(scope, receive, send, self.limits)
        await self.app(scope, incoming.receive, incoming.send)


class _Incoming:
    """The body of one request, and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self.limit_bytes: int | None = limits.json_bytes
        self.has_token = False
        self._limits = limits
        self._receive = receive
        self._send = send
        headers = {name: value for name, value in scope["headers"] if name in _ABOUT_BODIES}
        # The server has refused what is no number.
        length = headers.get(b"content-length", b"0")
        self._announced = int(length) if length.isdigit() else 0
        self._is_complete = not self._announced and b"transfer-encoding" not in headers
        #: The client sends nothing before it is asked to (RFC 9110, 10.1.1).
        self._is_held_back = headers.get(b"expect", b"").lower() == b"100-continue"
        self._size = 0
        self._window_s, self._window_bytes = 0.0, 0
        self._status = 0

    async def receive(self) -> Message:
        """Return the next piece of the body.

        Raises:
            HTTPException: it is too long, or comes too slowly.
        """
        if self._is_complete:
            return await self._receive()
        if self.limit_bytes is not None and self._announced > self.limit_bytes:
            raise _too_large(self.limit_bytes)
        self._is_held_back = False
        message = await self._next()
        if self.limit_bytes is not None and self._size > self.limit_bytes:
            raise _too_large(self.limit_bytes)
        return message

    async def _next(self) -> Message:
        idle_s, began = self._limits.body_idle_s, time.monotonic()
        try:
            async with asyncio.timeout(idle_s):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                408, f"Nothing came for {idle_s:g} s, so the request was given up. Nothing was kept: send it again."
            ) from error
        if message["type"] != "http.request":
            self._is_complete = True
            return message
        size = len(message.get("body", b""))
        self._size += size
        self._is_complete = not message.get("more_body", False)
        # Only the time in which the client was waited for.
        self._window_s += time.monotonic() - began
        self._window_bytes += size
        if self._window_s >= self._limits.body_window_s and not self._is_complete:
            if self._window_bytes < self._limits.body_bytes_per_s * self._window_s:
                raise HTTPException(
                    408,
                    f"Less than {self._limits.body_bytes_per_s} bytes came in a second, so the request was given up. "
                    "Nothing was kept: send it again.",
                )
            self._window_s, self._window_bytes = 0.0, 0
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on. Where the body is not over by then, it is the last one of its connection, or waits."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if not self._is_complete and self._status >= 400:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await self._send(message)
        elif message.get("more_body", False) or self._is_complete:
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._discard()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _discard(self) -> None:
        """Read what is left of the body: all of it after success, else no more than a client needs to look up."""
        if self._is_held_back:
            return
        most_bytes, most_s = _LINGER if self.has_token else _LINGER_WITHOUT_TOKEN
        until = self._size + most_bytes
        with contextlib.suppress(HTTPException, TimeoutError):
            async with asyncio.timeout(most_s if self._status >= 400 else None):
                while not self._is_complete and (self._status < 400 or self._size < until):
                    await self._next()


_ABOUT_BODIES = {b"content-length", b"transfer-encoding", b"expect"}


def set_body_limit(scope: Scope, limit_bytes: int | None) -> None:
    """Set how long this request's body may be (None: as long as it likes), before any of it is read."""
    incoming: _Incoming = scope[_KEY]
    incoming.limit_bytes = limit_bytes


def note_token(scope: Scope) -> None:
    """Remember that this request has shown a valid token."""
    incoming: _Incoming = scope[_KEY]
    incoming.has_token = True


def _too_large(limit_bytes: int) -> HTTPException:
    return HTTPException(413, f"The body is longer than the {limit_bytes} bytes that this takes.")
