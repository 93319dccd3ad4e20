# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything on the share together: what it costs, and how it is."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from noslop_backend import __version__
from noslop_backend.crud import JobCRUD, StoreCRUD
from noslop_backend.errors import BackendError, ShareUnavailableError
from noslop_backend.models import StoreStats

from .access import ADMIN, READ
from .problems import described
from .projects import Quota, QuotaPublic
from .state import State, StateDep

router = APIRouter(tags=["store"])
_LOG = logging.getLogger(__name__)


class Condition(StrEnum):
    """Whether something works."""

    OK = "ok"
    DEGRADED = "degraded"


class Part(BaseModel):
    """Whether one thing that the service stands on works, and if not, what was seen."""

    status: Condition
    detail: str = ""


class Health(BaseModel):
    """How the service is. `degraded` as soon as one of its parts is."""

    status: Condition
    version: str
    database: Part
    share: Part
    #: Decisions that wait for a person (`noslop-backend stats` tells them); they keep nothing else from working.
    questions_count: int = 0
    disk_threads: int
    disk_threads_busy: int
    disk_threads_hanging: int


@router.get("/stats", operation_id="getStats", dependencies=[READ])
def get_stats(
    state: StateDep, with_disk: Annotated[bool, Query(description="ask the share for its free space too")] = False
) -> StoreStats:
    """What all projects cost together. Disk values are null when the share does not answer soon."""
    if with_disk:
        try:
            return state.probe.run(state.storage.get_store_stats, with_disk=True)
        except ShareUnavailableError as error:
            _LOG.warning("statistics without the disk's: %s", error.message)
    return state.storage.get_store_stats()


@router.get("/quota", operation_id="getQuota", dependencies=[READ])
def get_quota(state: StateDep) -> QuotaPublic:
    """The quota of everything together, and what is used of it."""
    return _quota(state.storage.get_store_stats())


@router.put("/quota", operation_id="setQuota", dependencies=[ADMIN])
def set_quota(quota: Quota, state: StateDep) -> QuotaPublic:
    """Limit what all projects may cost together. What is there stays, even when it is more."""
    state.storage.set_store_quota(quota.quota_bytes)
    return _quota(state.storage.get_store_stats())


@router.get("/health", operation_id="getHealth")
def get_health(state: StateDep) -> Health:
    """How the service is: answers with 200 while it runs, also when the share hangs. Needs no token."""
    return _health(state)


@router.get(
    "/health/ready",
    operation_id="getReadiness",
    responses={**described(), 503: {"model": Health, "description": "It cannot write now."}},
)
def get_readiness(state: StateDep, response: Response) -> Health:
    """Whether the service can write now: 503 when it cannot, for load balancers and tests. Needs no token."""
    health = _health(state)
    if health.status is not Condition.OK:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return health


def _health(state: State) -> Health:
    (database, questions_count), share, disk = _database(state), _share(state), state.disk.state()
    well = database.status is share.status is Condition.OK and disk.hanging < disk.threads
    return Health(
        status=Condition.OK if well else Condition.DEGRADED,
        version=__version__,
        database=database,
        share=share,
        questions_count=questions_count,
        disk_threads=disk.threads,
        disk_threads_busy=disk.busy,
        disk_threads_hanging=disk.hanging,
    )


def _database(state: State) -> tuple[Part, int]:
    """Whether a transaction that writes can begin, and how many decisions wait for a person; nothing is written."""
    try:
        with state.probe_database.write() as session:
            StoreCRUD(session).seen()
            questions = JobCRUD(session).questions()
    except BackendError as error:
        return _hurt(state, "database", error), 0
    return _well(state, "database"), len(questions)


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
    # Once, however often somebody asks.
    if state.troubles.get(what) != error.message:
        state.troubles[what] = error.message
        _LOG.warning("health: the %s: %s", what, error.message)
    return Part(
        status=Condition.DEGRADED,
        detail=f"The {what} does not work now ({error.code}). {_STEPS[what]} The service's log says what was seen.",
    )


def _quota(stats: StoreStats) -> QuotaPublic:
    return QuotaPublic(
        quota_bytes=stats.quota_bytes,
        used_bytes=stats.used_bytes,
        reserved_bytes=stats.reserved_bytes,
        free_bytes=stats.free_bytes,
    )
