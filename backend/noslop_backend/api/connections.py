# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit the connections of clients: how many there may be, and how long one may take.

Uvicorn waits for the head of a request for ever, and answers 503 to every client when there are too many connections.
Here a head has a deadline, so has a client that does not read its answer, and what is too many costs the connection
that has been idle for longest: first one that showed no token, and one of the same address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from noslop_backend.api.limits import Limits
from noslop_backend.api.rates import network_of

_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connection(H11Protocol):
    """One connection, with its deadlines."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        table: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.table = table
        self.address = ""
        #: Whether a request on it has shown a valid token.
        self.has_token = False
        #: Whether its request is being refused, and nothing else is done for it.
        self.is_refused = False
        self.idle_since = 0.0
        #: Since when the head of a request is due; None: none has begun.
        self.head_since: float | None = None
        #: When the client did not read, and how much there was for it then.
        self._unread: tuple[float, int] | None = None

    @property
    def is_idle(self) -> bool:
        """Return whether no request is being worked on."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin, or end at once where there is no place."""
        super().connection_made(transport)
        self.address = network_of(self.client[0]) if self.client else ""
        self.idle_since = self.head_since = self.loop.time()
        if not self.table.add(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.table.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self.is_idle and self.head_since is None:
            self.head_since = self.loop.time()
        super().data_received(data)
        if not self.is_idle:
            self.head_since = None

    def on_response_complete(self) -> None:
        """Wait for the next request, whose first bytes may be here already."""
        self.is_refused = False
        self.idle_since = self.loop.time()
        self.head_since = None
        super().on_response_complete()
        if self.is_idle and self.conn.trailing_data[0]:
            self.head_since = self.loop.time()

    def pause_writing(self) -> None:
        """Wait until the client has read."""
        super().pause_writing()
        self._unread = (self.loop.time(), self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._unread = None

    def check_deadlines(self, now: float, limits: Limits) -> None:
        """End when the head of a request is overdue, or the client reads nothing."""
        if self.is_idle and self.head_since is not None and now - self.head_since >= limits.header_s:
            self._unset_keepalive_if_required()
            if self.conn.trailing_data[0]:
                self.transport.write(_TIMED_OUT)
            self.transport.close()
        elif self._unread is not None and now - self._unread[0] >= limits.body_window_s:
            left = self.transport.get_write_buffer_size()
            if self._unread[1] - left < limits.body_bytes_per_s * limits.body_window_s:
                self.transport.abort()
            self._unread = (now, left)


class Connections:
    """All connections. `limits` may change while it runs."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._by_peer: dict[tuple[str, int] | None, Connection] = {}
        self._all: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> bool:
        """Count a new connection, at the cost of an idle one where there are too many; False where none is idle."""
        same = [each for each in self._all if not each.has_token and each.address == connection.address]
        if len(same) >= self.limits.connections_per_address and not self._end_one(same):
            return False
        if len(self._all) >= self.limits.connections and not (
            self._end_one(each for each in self._all if not each.has_token) or self._end_one(self._all)
        ):
            return False
        self._all.add(connection)
        self._by_peer[connection.client] = connection
        if self._timer is None:
            self._check_later(connection.loop)
        return True

    def remove(self, connection: Connection) -> None:
        """Count a connection no more."""
        self._all.discard(connection)
        if self._by_peer.get(connection.client) is connection:
            del self._by_peer[connection.client]

    def note_token(self, peer: tuple[str, int] | None) -> None:
        """Remember that this client has shown a valid token."""
        if (connection := self._by_peer.get(peer)) is not None:
            connection.has_token = True

    def note_refused(self, peer: tuple[str, int] | None) -> None:
        """Remember that nothing is being done for this client, as if its connection was idle."""
        if (connection := self._by_peer.get(peer)) is not None:
            connection.is_refused = True

    def _end_one(self, candidates: Iterable[Connection]) -> bool:
        idle = [each for each in candidates if each.is_idle or each.is_refused]
        if not idle:
            return False
        oldest = min(idle, key=lambda each: each.idle_since)
        self.remove(oldest)
        oldest.transport.abort()
        return True

    def _check_later(self, loop: asyncio.AbstractEventLoop) -> None:
        each_s = min(1.0, self.limits.header_s / 4, self.limits.body_window_s / 4)
        self._timer = loop.call_later(each_s, self._check, loop)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for each in list(self._all):
            each.check_deadlines(now, self.limits)
        self._timer = None
        if self._all:
            self._check_later(loop)
