# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The share hangs: who needs it is told so in time, everybody else is served, and afterwards all is as before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.backend.api.hanging import hanging
from tests.backend.api.serving import Served, limits_for_tests, serving
from tests.backend.studio import Studio, png

THREADS = 2


@pytest.fixture
def served(studio: Studio) -> Iterator[Served]:
    """A server with few threads for the share."""
    limits = limits_for_tests(disk_threads=THREADS, disk_waiting=1, disk_limit_s=30, probe_limit_s=30)
    with serving(studio.storage, limits) as server:
        yield server


@pytest.fixture
def project_id(served: Served) -> str:
    return served.project()


@contextmanager
def _hanging(served: Served, studio: Studio) -> Iterator[None]:
    """Let the share hang, and the server be impatient: while the share works, a slow host is no reason to give up."""
    pools = (served.state.disk, served.state.probe)
    with hanging(studio.root):
        for pool in pools:
            pool.limit_s = 0.2
        yield
        for pool in pools:
            pool.limit_s = 30


def _is_away(answer: httpx.Response) -> bool:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    return bool(answer.json()["code"] == "share_unavailable")


def _share_threads() -> int:
    return sum(thread.name.startswith("share-") for thread in threading.enumerate())


def test_readers_of_the_database_are_served(served: Served, studio: Studio, project_id: str) -> None:
    file = served.upload(project_id, 1)
    with _hanging(served, studio):
        for _ in range(2 * THREADS):
            assert _is_away(served.client.post("/api/v1/projects", json={"name": "No"}))
        at = f"/api/v1/projects/{project_id}"
        for path in (
            *("/api/v1/projects", "/api/v1/stats", "/api/v1/stats?with_disk=true", "/api/v1/quota", "/api/v1/metrics"),
            *(at, f"{at}/stats", f"{at}/files", f"{at}/files/{file['id']}", f"{at}/workflows", f"{at}/quota"),
        ):
            assert served.client.get(path).status_code == 200, path
        # Whether a file is there still, only the share can tell.
        assert served.client.head(f"{at}/files/{file['id']}/content").status_code == 503
        assert served.client.get("/api/v1/stats?with_disk=true").json()["disk_free_bytes"] is None


def test_health_says_so_and_readiness_refuses(served: Served, studio: Studio) -> None:
    with _hanging(served, studio):
        health = served.anybody.get("/api/v1/health")
        assert health.status_code == 200
        assert health.json()["status"] == "degraded"
        assert health.json()["database"]["status"] == "ok"
        assert health.json()["share"]["status"] == "degraded"
        assert served.anybody.get("/api/v1/health/ready").status_code == 503
        assert served.anybody.get("/api/v1/health").status_code == 200
    assert served.state.probe.drained(60)
    assert served.anybody.get("/api/v1/health/ready").json()["status"] == "ok"


def test_every_way_to_the_share_is_told(served: Served, studio: Studio, project_id: str) -> None:
    file = served.upload(project_id, 1)
    at = f"/api/v1/projects/{project_id}"
    with _hanging(served, studio):
        assert _is_away(served.client.post(f"{at}/media", params={"name": "a"}, content=png(2)))
        assert _is_away(served.client.get(f"{at}/files/{file['id']}/content"))
        # From here on all threads hang, and nobody waits any more.
        assert served.state.disk.state().hanging == THREADS
        for method, path, body in (
            ("POST", "/workflows?name=w", b"{}"),
            ("POST", "/intermediate?kind=mask&name=m", b"mask"),
            ("DELETE", "", b""),
            ("GET", f"/files/{file['id']}/metadata", b""),
            ("GET", "/archive", b""),
            ("POST", f"/files/{file['id']}/promote", b""),
        ):
            answer = served.client.request(method, f"{at}{path}", content=body)
            assert _is_away(answer), (method, path)
            assert "hang" in answer.json()["detail"]
    studio.storage.recover()


def test_threads_that_hang_are_bounded_and_come_back(served: Served, studio: Studio) -> None:
    before = _share_threads()
    with _hanging(served, studio):
        for _ in range(5 * THREADS):
            assert _is_away(served.client.post("/api/v1/projects", json={"name": "No"}))
        assert served.state.disk.state().hanging == THREADS
        assert _share_threads() <= before + THREADS
    assert served.state.disk.drained(60)
    assert served.state.disk.state().hanging == 0
    assert served.client.post("/api/v1/projects", json={"name": "Yes"}).status_code == 201


def test_a_request_that_was_given_up_is_done_once_when_repeated(
    served: Served, studio: Studio, project_id: str
) -> None:
    headers = {"Idempotency-Key": "only-once"}
    request: dict[str, Any] = {"params": {"name": "w"}, "headers": headers, "content": b'{"a": 1}'}
    with _hanging(served, studio):
        assert _is_away(served.client.post(f"/api/v1/projects/{project_id}/workflows", **request))
    assert served.state.disk.drained(60)
    answers = [served.client.post(f"/api/v1/projects/{project_id}/workflows", **request) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["version"] == 1
    studio.check(project_id)


def test_the_answer_comes_within_thirty_seconds_by_default() -> None:
    assert limits_for_tests().disk_limit_s < 30
    with pytest.raises(ValueError, match="less than or equal to 30"):
        limits_for_tests(disk_limit_s=31)
