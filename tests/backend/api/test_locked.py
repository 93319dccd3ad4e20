# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database is locked by somebody else, or stopped: who asks is told, nothing is begun, and later all goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psycopg
import pytest
from noslop_backend.api.paths import PREFIX
from noslop_backend.core.database import Database

from tests.backend.api.serving import Served, limits_for_tests, serving
from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, png

#: A process of its own takes SQLite's lock, says so, and keeps it until its standard input ends.
HOLDER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(studio: Studio, project: str) -> Iterator[None]:
    """Let somebody else hold what every write to a project needs."""
    if studio.url.startswith("sqlite"):
        command = [sys.executable, "-c", HOLDER, studio.url.removeprefix("sqlite:///")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            yield
            holder.communicate()
        return
    with psycopg.connect(studio.url.replace("postgresql+psycopg", "postgresql")) as held:
        held.execute("SELECT id FROM project WHERE id = %s FOR UPDATE", [project])
        yield


@contextmanager
def impatient(studio: Studio, lease_s: float = 60) -> Iterator[Served]:
    """A server that waits for a lock no longer than a test has to; for all else as long as a slow host needs.

    It asks for no tokens: their use is written down after the answer, and would be one writer more.
    """
    storage = studio.another(database_lock_timeout_s=0.2, lease_s=lease_s)
    with serving(storage, limits_for_tests(probe_limit_s=30), asks_for_tokens=False) as server:
        server.state.probe_database.close()
        server.state.probe_database = Database(studio.url, 0.2)
        yield server


@pytest.fixture
def served(studio: Studio) -> Iterator[Served]:
    with impatient(studio) as server:
        yield server


def is_refused(answer: httpx.Response) -> bool:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert "Traceback" not in answer.text
    return bool(answer.json()["code"] == "database_unavailable")


def test_a_lock_that_stays_is_told_and_nothing_is_begun(
    served: Served, studio: Studio, capfd: pytest.CaptureFixture[str]
) -> None:
    project = served.project()
    file = served.upload(project, 1)
    at, key = f"{PREFIX}/projects/{project}", {"Idempotency-Key": "once"}
    calls: list[Callable[[], httpx.Response]] = [
        lambda: served.client.post(f"{at}/media?name=m", headers=key, content=png(2)),
        lambda: served.client.post(f"{at}/workflows?name=w", headers=key | {"Idempotency-Key": "w"}, json={}),
        lambda: served.client.post(f"{at}/adoptions", json={"name": "a", "size_bytes": 9}),
        lambda: served.client.post(f"{at}/files/{file['id']}/promote", headers=key | {"Idempotency-Key": "p"}),
        lambda: served.client.patch(at, json={"name": "Other"}),
        lambda: served.client.delete(f"{at}/files/{file['id']}"),
        lambda: served.client.delete(at),
    ]
    before = studio.tree(project)
    with locked(studio, project):
        for call in calls:
            answer = call()
            assert is_refused(answer)
            assert "locked" in answer.json()["detail"]
        # Readers are served.
        assert served.client.get(at).json()["name"] == "A project"
        assert served.client.get(f"{at}/files/{file['id']}/content").content == png(1)
        assert served.client.get(f"{PREFIX}/health").json()["share"]["status"] == "ok"
        if studio.url.startswith("sqlite"):
            # Nobody can write anything; a row that is locked is nothing to the whole.
            assert served.client.get(f"{PREFIX}/health").json()["database"]["status"] == "degraded"
            assert served.client.get(f"{PREFIX}/health/ready").status_code == 503
        assert (studio.tree(project), studio.open_intents()) == (before, [])
        assert studio.storage.get_store_stats().reserved_bytes == 0
    assert served.client.get(f"{PREFIX}/health/ready").status_code == 200
    assert [call().status_code for call in calls[:2]] == [201, 201]
    assert calls[0]().json() == calls[0]().json()
    studio.check(project)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("length", [True, False], ids=["announced", "streamed"])
def test_a_lock_in_the_midst_of_a_body(studio: Studio, length: bool) -> None:
    """It has begun, and its end finds no database: it is told so, and its key gives one file later."""
    # A lease that is over stands for the minute that a client would wait.
    with impatient(studio, lease_s=0) as served, ExitStack() as stack:
        project = served.project()
        before = studio.tree(project)
        headers = {"Idempotency-Key": "once"} | ({"Content-Length": str(len(png(1)))} if length else {})
        at = f"{PREFIX}/projects/{project}"

        def body() -> Iterator[bytes]:
            yield png(1)[:30]
            stack.enter_context(locked(studio, project))
            yield png(1)[30:]

        assert is_refused(served.client.post(f"{at}/media?name=m", headers=headers, content=body()))
        assert {path: text for path, text in studio.tree(project).items() if "staging" not in path} == before
        stack.close()
        again = [served.client.post(f"{at}/media?name=m", headers=headers, content=iter([png(1)])) for _ in range(2)]
        assert [answer.status_code for answer in again] == [201, 201]
        assert again[0].json() == again[1].json()
        studio.check(project)


def test_a_server_that_stops_and_comes_back(
    cluster: Cluster, studio: Studio, capfd: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL is restarted in the middle of a body: the service goes on without a restart of its own."""
    if studio.url.startswith("sqlite"):
        # SQLite has no server.
        return
    with serving(studio.another(lease_s=0), limits_for_tests(probe_limit_s=30)) as served, ExitStack() as stack:
        project = served.project()
        at, key = f"{PREFIX}/projects/{project}", {"Idempotency-Key": "once"}

        def body() -> Iterator[bytes]:
            yield png(1)[:30]
            cluster.stop()
            stack.callback(cluster.start)
            yield png(1)[30:]

        assert is_refused(served.client.post(f"{at}/media?name=m", headers=key, content=body()))
        for path in (at, f"{at}/files", f"{PREFIX}/stats"):
            assert is_refused(served.client.get(path))
        assert is_refused(served.client.post(f"{at}/workflows?name=w", json={}))
        health = served.client.get(f"{PREFIX}/health").json()
        assert (health["status"], health["database"]["status"], health["share"]["status"]) == (
            "degraded",
            "degraded",
            "ok",
        )
        assert served.client.get(f"{PREFIX}/health/ready").status_code == 503
        stack.close()
        assert served.client.get(f"{PREFIX}/health/ready").status_code == 200
        again = [served.client.post(f"{at}/media?name=m", headers=key, content=iter([png(1)])) for _ in range(2)]
        assert [answer.status_code for answer in again] == [201, 201]
        assert again[0].json() == again[1].json()
        studio.check(project)
    assert "Traceback" not in capfd.readouterr().err
