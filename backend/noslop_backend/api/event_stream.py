# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send events to one subscriber, as server-sent events (WHATWG HTML, 9.2).

An event is sent with the id to go on from. What a subscriber does not get (other kinds, other projects) moves that id
on all the same, with the next sign of life. A token is looked up again with each of those: one that is revoked ends its
streams.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from noslop_backend.api import problems
from noslop_backend.api.deps import State
from noslop_backend.api.event_feed import FeedClosedError, TooSlowError
from noslop_backend.core.errors import BackendError
from noslop_backend.schemas.events import Reload
from noslop_backend.services.events import Position, Wanted
from noslop_backend.services.tokens import Caller, UnauthenticatedError

_LOG = logging.getLogger(__name__)
MEDIA_TYPE = "text/event-stream"
#: A proxy that collects an answer before it passes it on would keep events back (nginx: X-Accel-Buffering).
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
#: How soon a client that lost its stream comes back, in milliseconds.
_RETRY_MS = 2000


class EventStream(Response):
    """The answer with events: it ends when the client goes, or is too slow, or the service stops."""

    media_type = MEDIA_TYPE

    def __init__(
        self, state: State, caller: Caller, wanted: Wanted, last_event_id: str | None, *, follow: bool
    ) -> None:
        super().__init__(headers=HEADERS)
        # It has no body yet.
        del self.headers["content-length"]
        self._state = state
        self._caller = caller
        self._wanted = wanted
        self._last_event_id = last_event_id
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until an end."""
        if self.background is not None:
            await self.background()
        try:
            with self._state.event_streams.reserve(self._caller.token_id):
                async with self._state.events.subscribed() as position:
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    await self._send(position, receive, send)
        except FeedClosedError:
            detail = "The service is being stopped. Ask again in a moment."
            answer = problems.problem(503, "stopping", detail, headers={"Retry-After": "1"})
            await answer(scope, receive, send)
        except BackendError as error:
            await problems.of_backend_error(error)(scope, receive, send)

    async def _send(self, position: Position, receive: Receive, send: Send) -> None:
        """Send events while the client is there."""
        sending = asyncio.create_task(self._send_all(position, send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send_all(self, position: Position, send: Send) -> None:
        try:
            async for block in self._blocks(position):
                await send({"type": "http.response.body", "body": block.encode(), "more_body": True})
        except (BackendError, FeedClosedError, TooSlowError) as error:
            # The status is sent. The client comes back with its last id, and is answered by what is so then.
            if isinstance(error, BackendError):
                _LOG.info("a stream of events ends: %s", error.message)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _blocks(self, position: Position) -> AsyncIterator[str]:
        """Yield what is sent, an event or a sign of life at a time."""
        feed, beat_s = self._state.events, self._state.limits.event_heartbeat_s
        number = self._number(position)
        if number is None:
            number = position.highest
            missing = _reload(position, feed.limits.event_replay)
            yield _block("reload", missing.id, missing)
        else:
            yield f"retry: {_RETRY_MS}\nid: {position.id_of(number)}\n: begins\n\n"
        replays, loop = True, asyncio.get_running_loop()
        beat_at = loop.time() + beat_s
        while True:
            before = number
            changes, number = await feed.after(position.stream, number, replays=replays)
            for change in changes:
                if (event := self._wanted.view(change)) is not None:
                    yield _block(event.kind, event.id, event)
            if number > before:
                # However many events come, the token is looked up and the id goes on.
                if loop.time() < beat_at:
                    continue
            else:
                if not self._follow:
                    yield f"id: {position.id_of(number)}\n\n"
                    return
                replays = False
                await feed.wait(number, beat_at - loop.time())
            if loop.time() >= beat_at:
                await self._check_token()
                yield f": alive\nid: {position.id_of(number)}\n\n"
                beat_at = loop.time() + beat_s

    def _number(self, position: Position) -> int | None:
        """Return the number to begin behind; None where events are missing."""
        if self._last_event_id is None:
            return position.highest
        number = position.number_of(self._last_event_id)
        if number is None or position.highest - number > self._state.limits.event_replay:
            return None
        return number

    async def _check_token(self) -> None:
        """Look up what the caller may see now.

        Raises:
            UnauthenticatedError: nothing any more.
        """
        if self._caller.token_id is None:
            return
        check = functools.partial(self._state.tokens.check_again, self._caller.token_id)
        try:
            caller = await self._state.events.read(check)
        except UnauthenticatedError:
            raise
        except BackendError as error:
            # The database is away, and so are events.
            _LOG.debug("a token is not looked up: %s", error.message)
            return
        if caller.projects != self._caller.projects:
            raise UnauthenticatedError("The projects of this token were changed.")


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _reload(position: Position, replay: int) -> Reload:
    return Reload(
        id=position.id_of(position.highest),
        detail=f"Events between your last one and now are missing: it is none of this database, or older than it "
        f"remembers, or more than {replay} changes ago. Read the lists again, and go on from this id.",
    )


def _block(kind: str, event_id: str, event: BaseModel) -> str:
    """Return one event. JSON has no line breaks of its own, so its data is one line."""
    return f"event: {kind}\nid: {event_id}\ndata: {event.model_dump_json(exclude_none=True)}\n\n"
