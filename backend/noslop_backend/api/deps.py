# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold what all routes share: the service, the tokens, the threads that work on the share."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from noslop_backend.api.event_feed import EventFeed
from noslop_backend.api.limits import Limits
from noslop_backend.api.rates import Places
from noslop_backend.api.routes.health import HealthCheck
from noslop_backend.api.share_threads import ShareThreads
from noslop_backend.core.database import Database
from noslop_backend.core.errors import BackendError
from noslop_backend.journal.audit import Refusals
from noslop_backend.services import ProjectStorage
from noslop_backend.services.events import Events
from noslop_backend.services.tokens import Tokens

_LOG = logging.getLogger(__name__)
#: After the network an ingest may still decode and publish a file.
_INGEST_END_S = 600.0


@dataclass
class State:
    """The state of the process. `asks_for_tokens` is off only where no other host can connect."""

    storage: ProjectStorage
    limits: Limits
    asks_for_tokens: bool
    tokens: Tokens
    disk: ShareThreads
    #: A health check has a thread of its own: that of the others may all hang.
    probe: ShareThreads
    #: And it asks the database by a connection of its own, which does not wait for as long.
    probe_database: Database
    #: Asks that database too: a flood of refused requests keeps no other one waiting.
    refusals: Refusals
    registry: CollectorRegistry
    uploads: Places
    large_documents: Places
    archives: Places
    requests: Places
    event_streams: Places
    #: Asks the database as health checks do: it waits for no writer, and keeps none waiting.
    events: EventFeed
    ingests: asyncio.Semaphore
    health: HealthCheck
    #: Threads in which prompts are filed.
    fetching: ShareThreads
    #: Messages of health checks about parts that do not work, by part.
    troubles: dict[str, str] = field(default_factory=dict)
    _noting: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def make(cls, storage: ProjectStorage, limits: Limits, *, asks_for_tokens: bool) -> State:
        """Make what all routes share."""
        probe_database = Database(storage.settings.database_url, limits.probe_limit_s)
        return cls(
            storage=storage,
            limits=limits,
            asks_for_tokens=asks_for_tokens,
            tokens=Tokens(storage.database),
            disk=ShareThreads(threads=limits.disk_threads, waiting=limits.disk_waiting, limit_s=limits.disk_limit_s),
            probe=ShareThreads(threads=1, waiting=8, limit_s=limits.probe_limit_s),
            probe_database=probe_database,
            refusals=Refusals(probe_database),
            registry=CollectorRegistry(),
            uploads=Places("uploads", limits.uploads, limits.uploads_per_token),
            large_documents=Places("large documents", limits.large_documents, limits.large_documents_per_token),
            archives=Places("archives", limits.archives, limits.archives_per_token),
            requests=Places("requests", limits.connections, limits.requests_per_token),
            event_streams=Places("streams of events", limits.event_streams, limits.event_streams_per_token),
            events=EventFeed(Events(probe_database), limits),
            ingests=asyncio.Semaphore(limits.ingests),
            health=HealthCheck(),
            # Each step of an ingest has a limit of its own, so this one is only reached when those do not hold.
            fetching=ShareThreads(
                threads=limits.ingests, waiting=0, limit_s=2 * storage.settings.ingest_limit_s + _INGEST_END_S
            ),
        )

    def note_use(self, token_id: str) -> None:
        """Write down that a token is used; one at a time for each token, and never at the cost of a request."""
        with self._lock:
            if token_id in self._noting:
                return
            self._noting.add(token_id)
        try:
            self.tokens.note_use(token_id)
        except BackendError as error:
            _LOG.warning("the use of the token %s is not written down: %s", token_id, error.message)
        finally:
            with self._lock:
                self._noting.discard(token_id)

    def close(self) -> None:
        """Let threads and streams end."""
        self.events.close()
        self.disk.close()
        self.probe.close()
        self.refusals.close()
        self.probe_database.close()
        self.fetching.close()


# Awaits nothing: as a plain `def` it would take a thread to look up an attribute.
async def _state(request: Request) -> State:
    return cast(State, request.app.state.noslop)


StateDep = Annotated[State, Depends(_state)]
