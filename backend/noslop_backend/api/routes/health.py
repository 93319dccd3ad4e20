# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the health of the service when a client asks, and not more often than once a second."""

from __future__ import annotations

import asyncio
import logging
import time
from enum import StrEnum
from typing import TYPE_CHECKING

import anyio.to_thread
from pydantic import BaseModel

from noslop_backend import __version__
from noslop_backend.core.errors import BackendError
from noslop_backend.repositories import JobRepository, StoreRepository
from noslop_backend.services.tokens import Caller

if TYPE_CHECKING:
    from noslop_backend.api.deps import State

_LOG = logging.getLogger(__name__)


class Condition(StrEnum):
    """Whether something works."""

    OK = "ok"
    DEGRADED = "degraded"


class Part(BaseModel):
    """Whether one thing that the service needs works, and if not, what to do."""

    status: Condition
    detail: str = ""


class Health(BaseModel):
    """The health of the service. `degraded` as soon as one of its parts is. What is not about that needs a token."""

    status: Condition
    database: Part
    share: Part
    #: Why the database is older than the share, and what to do about it; absent when it is not. It can write all the
    #: same.
    behind: str | None = None
    version: str | None = None
    #: Decisions that wait for a person (`noslop-backend stats` tells them); they keep nothing else from working.
    questions_count: int | None = None
    disk_threads: int | None = None
    disk_threads_busy: int | None = None
    disk_threads_hanging: int | None = None


class HealthCheck:
    """Checks the service once, however many clients ask, and remembers the result for a short time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._health: Health | None = None
        self._checked_at = 0.0

    async def get(self, state: State, caller: Caller | None) -> Health:
        """Return the health of the service, in full to a caller with a token."""
        async with self._lock:
            if self._health is None or time.monotonic() - self._checked_at >= state.limits.health_s:
                self._health = await anyio.to_thread.run_sync(_look, state)
                self._checked_at = time.monotonic()
            health = self._health
        if caller is None:
            return Health(status=health.status, database=health.database, share=health.share, behind=health.behind)
        return health


def _look(state: State) -> Health:
    (database, questions_count, behind), share, disk = _database(state), _share(state), state.disk.state()
    well = database.status is share.status is Condition.OK and disk.hanging < disk.threads
    return Health(
        status=Condition.OK if well else Condition.DEGRADED,
        version=__version__,
        database=database,
        share=share,
        behind=behind or None,
        questions_count=questions_count,
        disk_threads=disk.threads,
        disk_threads_busy=disk.busy,
        disk_threads_hanging=disk.hanging,
    )


def _database(state: State) -> tuple[Part, int, str]:
    """Try whether a transaction that writes can begin, and read what waits for a person. Nothing is written.

    Returns:
        The part, the number of decisions that wait, and why the database is older than the share.
    """
    try:
        with state.probe_database.write() as session:
            StoreRepository(session).peek()
            questions, behind = JobRepository(session).questions(), JobRepository(session).behind()
    except BackendError as error:
        return _hurt(state, "database", error), 0, ""
    return _well(state, "database"), len(questions), behind


def _share(state: State) -> Part:
    def look() -> None:
        with state.storage.share():
            pass

    try:
        state.probe.run(look)
    except BackendError as error:
        return _hurt(state, "share", error)
    return _well(state, "share")


#: What to do about a part that does not work. Who asks has shown no token: paths and addresses are for the log.
_STEPS = {
    "database": "Nothing can be read or written until it answers; then it goes on by itself. See whether its server, "
    "or its disk, is well.",
    "share": "It is not there, is another one, or does not answer. Nothing is written until it is back, and then it "
    "goes on by itself. See whether the storage server is up and the share is mounted on the backend's host.",
}


def _well(state: State, what: str) -> Part:
    if state.troubles.pop(what, ""):
        _LOG.info("health: the %s works again", what)
    return Part(status=Condition.OK)


def _hurt(state: State, what: str, error: BackendError) -> Part:
    # Once, however often a client asks.
    if state.troubles.get(what) != error.message:
        state.troubles[what] = error.message
        _LOG.warning("health: the %s: %s", what, error.message)
    return Part(
        status=Condition.DEGRADED,
        detail=f"The {what} does not work now ({error.code}). {_STEPS[what]} The service's log says what was seen.",
    )
