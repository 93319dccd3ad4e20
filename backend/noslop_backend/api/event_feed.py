# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the history of changes for all subscribers of this process: one asks the database, all are told.

The latest changes are held once for everybody, and a subscriber is a number up to which it has them: so it costs no
memory to be slow. Who is so slow that the changes it needs next are held no more is sent away, and comes back with the
id of the last event that it got. Changes of other processes are found like those of this one, in the database.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.to_thread

from noslop_backend.api.limits import Limits
from noslop_backend.core.errors import BackendError
from noslop_backend.services.events import Change, Changes, Events, Position

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
#: Changes that are held for everybody, and rows of the log that are read at once.
HELD = 2000
_ROWS = 500
#: Threads that read for subscribers who come back, of those that answer requests.
_READERS = 4


class FeedClosedError(Exception):
    """The service is being stopped."""


class TooSlowError(Exception):
    """A subscriber has not read for so long that what it needs next is held no more."""


class EventFeed:
    """The changes as they come. Belongs to one event loop; asks the database only while there are subscribers."""

    def __init__(self, events: Events, limits: Limits, held: int = HELD) -> None:
        self.limits = limits
        self._stream = ""
        self._events = events
        self._latest: deque[Change] = deque(maxlen=held)
        #: All changes above `_floor` and up to `head` are held.
        self._floor = self.head = 0
        self._subscribers = 0
        self._poller: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._starting = asyncio.Lock()
        self._readers: anyio.CapacityLimiter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[Position]:
        """Have changes followed until the end of the block; gives where their history stands.

        Raises:
            BackendError: the database does not answer.
            FeedClosedError: the service is being stopped.
        """
        self._subscribers += 1
        try:
            async with self._starting:
                self._check_open()
                position = await self.read(self._events.position)
                if self._poller is None:
                    self._loop = asyncio.get_running_loop()
                    self._stream = position.stream
                    self._floor = self.head = position.highest
                    self._latest.clear()
                    self._poller = asyncio.create_task(self._poll())
            yield position
        finally:
            self._subscribers -= 1
            if not self._subscribers and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    async def after(self, stream: str, number: int, *, replays: bool) -> tuple[list[Change], int]:
        """Return changes behind a number and the number up to which they are all; an empty list when there are none.

        Args:
            stream: the name of the history.
            number: up to which the subscriber has it.
            replays: whether it is still catching up, so that older changes are read from the database.

        Raises:
            TooSlowError: what comes next is held no more, or another history has begun.
            BackendError: the database does not answer.
            FeedClosedError: the service is being stopped.
        """
        self._check_open()
        if stream != self._stream:
            raise TooSlowError
        if number >= self._floor:
            newer = itertools.takewhile(lambda change: change.number > number, reversed(self._latest))
            return list(newer)[::-1], max(number, self.head)
        if not replays:
            raise TooSlowError
        read = await self.read(functools.partial(self._events.after, number, _ROWS))
        return read.changes, read.number

    async def wait(self, number: int, limit_s: float) -> None:
        """Wait until there may be changes behind a number, or the time is over."""
        changed = self._changed
        if self.head > number or self.is_closed:
            return
        try:
            async with asyncio.timeout(limit_s):
                await changed.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """End all streams. Safe to call from any thread."""
        self.is_closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    async def read(self, work: Callable[[], T]) -> T:
        """Ask the database for something that a stream needs, in one of few threads."""
        if self._readers is None:
            self._readers = anyio.CapacityLimiter(_READERS)
        return await anyio.to_thread.run_sync(work, limiter=self._readers)

    async def _poll(self) -> None:
        trouble = ""
        while True:
            try:
                if self._add(await self.read(functools.partial(self._events.after, self.head, _ROWS))):
                    # There may be more than was read at once.
                    continue
                trouble = ""
            except BackendError as error:
                if trouble != error.message:
                    trouble = error.message
                    _LOG.warning("events wait for the database: %s", error.message)
            await asyncio.sleep(self.limits.event_poll_s)

    def _add(self, read: Changes) -> bool:
        """Hold what was read, and tell subscribers. Return whether there was anything."""
        if read.stream != self._stream:
            self._stream, self._floor = read.stream, read.number
            self._latest.clear()
        elif read.number <= self.head:
            return False
        else:
            for change in read.changes:
                if len(self._latest) == self._latest.maxlen:
                    self._floor = self._latest[0].number
                self._latest.append(change)
        self.head = read.number
        self._wake()
        return True

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _check_open(self) -> None:
        if self.is_closed:
            raise FeedClosedError
