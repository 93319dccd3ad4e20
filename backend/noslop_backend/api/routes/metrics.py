# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report figures to Prometheus: requests, threads on the share, and what everything costs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noslop_backend.api.auth import READ
from noslop_backend.api.deps import StateDep
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.share_threads import ShareThreads
from noslop_backend.core.errors import BackendError
from noslop_backend.schemas import ProjectPublic
from noslop_backend.services import ProjectStorage

#: Projects that have figures of their own, the oldest: each is three series in Prometheus.
PROJECTS_LIMIT = 1000

router = APIRouter(route_class=StrictRoute, tags=["store"])


@router.get(
    "/metrics",
    operation_id="getMetrics",
    dependencies=[READ],
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
def get_metrics(state: StateDep) -> Response:
    """Return figures for Prometheus."""
    return Response(generate_latest(state.registry), media_type=CONTENT_TYPE_LATEST)


class Costs(Collector):
    """Figures that are read for each request: counters of the database and the state of threads. Never the share."""

    def __init__(self, storage: ProjectStorage, disk: ShareThreads) -> None:
        self.storage = storage
        self.disk = disk

    def collect(self) -> Iterator[Metric]:
        """Yield the figures as they are now; those of the database are left out while it does not answer."""
        pool = self.disk.state()
        yield _gauge("noslop_disk_threads", "Threads that may work on the share", pool.threads)
        yield _gauge("noslop_disk_threads_busy", "Threads that work on the share", pool.busy)
        yield _gauge("noslop_disk_threads_hanging", "Threads whose callers have gone", pool.hanging)
        yield _gauge("noslop_disk_waiting", "Pieces of work that wait for a thread", pool.waiting)
        try:
            stats = self.storage.get_store_stats()
            projects = self.storage.list_projects(limit=PROJECTS_LIMIT).items
        except BackendError:
            yield _gauge("noslop_database_up", "Whether the database answers", 0)
            return
        yield _gauge("noslop_database_up", "Whether the database answers", 1)
        yield _gauge("noslop_projects", "Projects", stats.projects_count)
        yield _gauge("noslop_workflows", "Workflows in all projects", stats.workflows_count)
        yield _gauge("noslop_media_files", "Media files in all projects", stats.media_count)
        yield _gauge("noslop_used_bytes", "What all projects cost", stats.used_bytes)
        yield _gauge("noslop_reserved_bytes", "Bytes set aside for writes under way", stats.reserved_bytes)
        yield _gauge("noslop_questions", "Decisions of jobs that wait for a person", len(stats.questions))
        if stats.quota_bytes is not None:
            yield _gauge("noslop_quota_bytes", "What all projects may cost together", stats.quota_bytes)
        yield from _compose_projects(projects)


class Measured:
    """Counts requests by operation and status, and how long they take."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self.requests = Counter(
            "noslop_http_requests", "Requests by operation and status", ["operation", "status"], registry=registry
        )
        self.seconds = Histogram(
            "noslop_http_request_seconds",
            "From the first byte of a request to the last of its answer",
            ["operation"],
            registry=registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 30, 120, 600),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and look at its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, began = "none", time.monotonic()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            # Paths that lead nowhere are one operation: clients must not decide how many series there are.
            operation = getattr(scope.get("route"), "operation_id", None) or "none"
            self.requests.labels(operation, status).inc()
            self.seconds.labels(operation).observe(time.monotonic() - began)


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)


def _compose_projects(projects: Iterable[ProjectPublic]) -> Iterable[Metric]:
    """Return the figures of each project."""
    used = GaugeMetricFamily("noslop_project_used_bytes", "What a project costs", labels=["project"])
    quota = GaugeMetricFamily("noslop_project_quota_bytes", "What a project may cost", labels=["project"])
    media = GaugeMetricFamily("noslop_project_media_files", "Media files of a project", labels=["project"])
    for project in projects:
        used.add_metric([project.id], project.used_bytes)
        media.add_metric([project.id], project.media_count)
        if project.quota_bytes is not None:
            quota.add_metric([project.id], project.quota_bytes)
    return used, quota, media
