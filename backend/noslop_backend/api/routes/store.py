# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report what all projects cost together, limit that, and report the health of the service."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from noslop_backend.api.admission import CALLER
from noslop_backend.api.auth import ADMIN, READ
from noslop_backend.api.deps import StateDep
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes.health import Condition, Health
from noslop_backend.api.routes.projects import Quota, QuotaPublic
from noslop_backend.core.errors import ShareUnavailableError
from noslop_backend.schemas import StoreStats

router = APIRouter(route_class=StrictRoute, tags=["store"])
_LOG = logging.getLogger(__name__)


@router.get("/stats", operation_id="getStats", dependencies=[READ])
def get_stats(
    state: StateDep, with_disk: Annotated[bool, Query(description="ask the share for its free space too")] = False
) -> StoreStats:
    """Return what all projects cost together. Disk values are null when the share does not answer soon."""
    if with_disk:
        try:
            return state.probe.run(state.storage.get_store_stats, with_disk=True)
        except ShareUnavailableError as error:
            _LOG.warning("statistics without the disk's: %s", error.message)
    return state.storage.get_store_stats()


@router.get("/quota", operation_id="getQuota", dependencies=[READ])
def get_quota(state: StateDep) -> QuotaPublic:
    """Return the quota of all projects together, and what is used of it."""
    return _quota(state.storage.get_store_stats())


@router.put("/quota", operation_id="setQuota", dependencies=[ADMIN])
def set_quota(quota: Quota, state: StateDep) -> QuotaPublic:
    """Limit what all projects may cost together. What is there stays, even when it is more."""
    state.storage.set_store_quota(quota.quota_bytes)
    return _quota(state.storage.get_store_stats())


@router.get("/health", operation_id="getHealth", response_model_exclude_none=True)
async def get_health(request: Request, state: StateDep) -> Health:
    """Return the health of the service: 200 while it runs, also when the share hangs. In full with a token only."""
    return await state.health.get(state, request.scope[CALLER])


@router.get(
    "/health/ready",
    operation_id="getReadiness",
    response_model_exclude_none=True,
    responses={**described(), 503: {"model": Health, "description": "It cannot write now."}},
)
async def get_readiness(request: Request, state: StateDep, response: Response) -> Health:
    """Return whether the service can write now: 503 when it cannot, for load balancers and tests. Needs no token."""
    health = await state.health.get(state, request.scope[CALLER])
    if health.status is not Condition.OK:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return health


def _quota(stats: StoreStats) -> QuotaPublic:
    return QuotaPublic(
        quota_bytes=stats.quota_bytes,
        used_bytes=stats.used_bytes,
        reserved_bytes=stats.reserved_bytes,
        free_bytes=stats.free_bytes,
    )
