# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock steps by days, forward and back: what is answered, and what is there afterwards."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from noslop_backend.core.database import clock
from noslop_backend.maintenance.reconcile import JOB
from noslop_backend.models import JobModel
from noslop_backend.repositories import JobRepository
from noslop_backend.share import layout
from sqlalchemy import delete

from tests.backend.clocks import Clock, Stepped
from tests.backend.memory import in_memory
from tests.backend.postgresql import Cluster
from tests.backend.studio import make_sqlite, make_studio, png

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest) -> Iterator[Stepped]:
    """One service for all tests of this module."""
    with ExitStack() as stack:
        directory = stack.enter_context(in_memory())
        stepping = Clock(directory / "clock")
        if request.param == "sqlite":
            url = f"sqlite:///{make_sqlite(directory / 'backend.sqlite3')}"
        else:
            directory.chmod(0o711)  # the server's account reads the clock there
            url = stack.enter_context(Cluster.started(stepping.environment())).new_database()
        studio = make_studio(directory, url)
        stack.callback(studio.close)
        yield stack.enter_context(Stepped.started(studio, stepping))


@pytest.fixture
def stepped(service: Stepped) -> Stepped:
    """The service, with its clock right and nothing remembered by its jobs."""
    service.clock.set()
    with service.studio.storage.database.write() as session:
        session.exec(delete(JobModel))
    return service


@pytest.fixture
def project(stepped: Stepped) -> str:
    return str(stepped.client.post("/api/v1/projects", json={"name": "A film"}).json()["id"])


def upload(stepped: Stepped, project: str, content: bytes | Iterator[bytes], key: str | None = None) -> httpx.Response:
    size = len(content if isinstance(content, bytes) else png(1))
    headers = {"Content-Length": str(size)} | ({"Idempotency-Key": key} if key else {})
    return stepped.client.post(f"/api/v1/projects/{project}/media?name=m", headers=headers, content=content)


@pytest.mark.parametrize("days", [5, -5])
def test_a_write_goes_on_over_a_step(stepped: Stepped, project: str, days: int) -> None:
    def body() -> Iterator[bytes]:
        yield png(1)[:30]
        stepped.clock.set(days * DAY)
        yield png(1)[30:]

    answer = upload(stepped, project, body(), "once")
    assert answer.status_code == 201
    assert upload(stepped, project, png(1), "once").json() == answer.json()
    assert stepped.job("recover")["released"] == []
    stepped.studio.check(project)


def test_a_lease_that_a_step_ended_is_lost_as_any_other(stepped: Stepped, project: str) -> None:
    """Nobody can tell it from one whose owner died: nothing is published, and the same key gives one file."""

    def body() -> Iterator[bytes]:
        yield png(1)[:30]
        # The service has the first piece when it has a file for it.
        while not any((stepped.studio.root / project / layout.STAGING).iterdir()):
            select.select([], [], [], 0.01)
        stepped.clock.set(5 * DAY)
        assert len(stepped.job("recover")["released"]) == 1
        yield png(1)[30:]

    lost = upload(stepped, project, body(), "once")
    assert (lost.status_code, lost.json()["code"]) == (409, "lease_lost")
    assert stepped.studio.tree(project).keys() == {layout.METADATA}
    assert upload(stepped, project, png(1), "once").status_code == 201
    stepped.studio.check(project)


def test_a_step_back_keeps_no_lease_alive(stepped: Stepped, project: str) -> None:
    """Who died before it would else own its key and its bytes until the clock is there again."""
    dead = stepped.studio.another().begin_generated_media(project, "m", length=len(png(1)), key="dead")
    dead.write(png(1)[:30])
    stepped.clock.set(-5 * DAY)
    busy = upload(stepped, project, png(1), "dead")
    assert (busy.status_code, busy.json()["code"]) == (409, "in_progress")
    assert int(busy.headers["retry-after"]) <= 60
    assert stepped.job("recover")["released"] == []
    stepped.clock.set(-5 * DAY + 2 * MINUTE)
    assert len(stepped.job("recover")["released"]) == 1
    assert upload(stepped, project, png(1), "dead").status_code == 201
    stepped.studio.check(project)


def test_a_step_back_keeps_no_ticket_alive(stepped: Stepped, project: str) -> None:
    at = f"/api/v1/projects/{project}/adoptions"
    ticket = stepped.client.post(at, json={"name": "a.png", "size_bytes": len(png(1))}).json()
    Path(ticket["staging_path"]).write_bytes(png(1))
    stepped.clock.set(-5 * DAY)
    assert stepped.job("recover")["released"] == []
    renewed = stepped.client.post(f"{at}/{ticket['ticket_id']}/renew").json()
    assert renewed["expires_at"] < ticket["expires_at"]
    stepped.clock.set(-5 * DAY + 62 * MINUTE)
    assert len(stepped.job("recover")["released"]) == 1
    assert stepped.client.post(f"{at}/{ticket['ticket_id']}/adopt").json()["code"] == "lease_lost"
    stepped.studio.check(project)


@pytest.mark.parametrize("days", [8, -30])
def test_a_step_makes_no_key_old(stepped: Stepped, project: str, days: int) -> None:
    stepped.job("recover")
    saved = upload(stepped, project, png(1), "once").json()
    stepped.clock.set(days * DAY)
    for minutes in range(3):
        stepped.clock.set(days * DAY + minutes * 15 * MINUTE)
        stepped.job("recover")
    assert upload(stepped, project, png(1), "once").json() == saved
    # When the clock has run evenly for as long as answers are kept, the answer goes.
    for half_days in range(17):
        stepped.clock.set(max(days, 0) * DAY + half_days * DAY / 2)
        stepped.job("recover")
    assert upload(stepped, project, png(1), "once").json() != saved
    stepped.studio.check(project)


def test_a_token_expires_by_the_clock_and_is_valid_again(stepped: Stepped, project: str) -> None:
    name = f"for {project}"
    headers = {"Authorization": f"Bearer {stepped.job('token', name=name, days=1)['text']}"}
    seen = {}
    for days in (0, 2, 0, -400):
        stepped.clock.set(days * DAY)
        seen[days] = stepped.client.get(f"/api/v1/projects/{project}", headers=headers).status_code
    assert seen == {0: 200, 2: 401, -400: 200}


@pytest.mark.parametrize("away", [40 * DAY, -MINUTE])
def test_retention_stops_and_asks(stepped: Stepped, project: str, away: timedelta) -> None:
    at = f"/api/v1/projects/{project}"
    stepped.client.patch(at, json={"intermediate_days": 5, "trash_days": 5}).raise_for_status()
    for number in range(10):
        stepped.client.post(f"{at}/intermediate?kind=frame&name={number}", content=b"x" * 9).raise_for_status()
    gone = upload(stepped, project, png(1)).json()["id"]
    stepped.client.delete(f"{at}/files/{gone}").raise_for_status()
    before = stepped.studio.tree(project)
    assert stepped.job("retention")["freed_bytes"] == 0
    stepped.clock.set(away)
    for _ in range(2):
        assert stepped.job("retention") == {"refused": "confirmation_needed"}
    stepped.clock.set(MINUTE)
    assert stepped.job("retention")["freed_bytes"] == 0
    assert stepped.studio.tree(project) == before
    stepped.studio.check(project)


def reconciled(stepped: Stepped, project: str) -> dict[str, str]:
    report = stepped.job("reconcile")
    return {each["path"]: each["outcome"] for each in report["findings"] if each["project_id"] == project}


def test_what_went_is_not_believed_by_a_clock_that_went_back(stepped: Stepped, project: str) -> None:
    """Seen once ahead of time and once after: that is one look, and it counts from then."""
    saved = upload(stepped, project, png(1)).json()["path"]
    path = stepped.studio.root / project / saved
    away = path.rename(stepped.studio.root.parent / "away")
    stepped.clock.set(5 * DAY)
    assert reconciled(stepped, project) == {}
    stepped.clock.set()
    assert reconciled(stepped, project) == {}
    stepped.clock.set(9 * MINUTE)
    assert reconciled(stepped, project) == {}
    stepped.clock.set(11 * MINUTE)
    assert reconciled(stepped, project) == {saved: "missing"}
    assert stepped.client.get(f"/api/v1/projects/{project}").json()["media_count"] == 0
    away.rename(path)
    assert reconciled(stepped, project) == {}
    # A step forward makes the second look too early: what was believed wrongly comes back by itself, and no file went.
    stepped.clock.set(5 * DAY)
    assert reconciled(stepped, project) == {saved: "back"}
    assert stepped.client.get(f"/api/v1/projects/{project}").json()["media_count"] == 1
    assert stepped.studio.drift(project) == []


def test_a_sighting_from_ahead_is_forgotten(stepped: Stepped, project: str) -> None:
    saved = upload(stepped, project, png(1)).json()["path"]
    path = stepped.studio.root / project / saved
    away = path.rename(stepped.studio.root.parent / "away")
    stepped.clock.set(5 * DAY)
    assert reconciled(stepped, project) == {}
    away.rename(path)
    stepped.clock.set()
    assert stepped.job("reconcile")["waiting_count"] == 0
    stepped.studio.check(project)


def test_reconcile_waits_for_no_run_from_ahead(stepped: Stepped, project: str) -> None:
    """A run that died before the clock went back has a lease that ends in days."""
    storage = stepped.studio.storage
    with storage.database.write() as session:
        now = clock(session)
        ahead = (now + 5 * DAY).isoformat()
        state: dict[str, Any] = {"owner": "dead", "lease": ahead, "started": ahead, "apply": True}
        JobRepository(session).remember(JOB, now + 5 * DAY, state | {"after": project, "places": 0, "report": {}})
    report = stepped.job("reconcile")
    assert (report["resumed"], report["projects_count"]) == (False, len(storage.list_projects().items))


def test_the_newest_copy_stays_whatever_the_clock_said(stepped: Stepped) -> None:
    def made(away: timedelta) -> Path:
        stepped.clock.set(away)
        return Path(stepped.job("backup", keep=3)["path"])

    wrong = [made(400 * DAY), made(401 * DAY)]
    right = [made(timedelta(0)), made(MINUTE)]
    assert [path.exists() for path in (*wrong, *right)] == [False, True, True, True]
    behind = made(-9 * DAY)
    assert behind.exists()
    later = [made(2 * MINUTE), made(3 * MINUTE)]
    assert [path.exists() for path in (right[1], *later)] == [True, True, True]
    assert sum(path.suffix in {".sqlite3", ".dump"} for path in behind.parent.iterdir()) == 3


def test_pages_show_each_once_in_whatever_order_they_came(stepped: Stepped, project: str) -> None:
    made = []
    for number, days in enumerate((0, 5, -5, 0)):
        stepped.clock.set(days * DAY)
        made.append(upload(stepped, project, png(number)).json()["id"])
    at, cursor, seen = f"/api/v1/projects/{project}/files", "", []
    while True:
        asked: dict[str, str | int] = {"limit": 1, "kind": "image"}
        if cursor:
            asked["cursor"] = cursor
        page = stepped.client.get(at, params=asked).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [made[1], made[3], made[0], made[2]]
    versions = []
    for number, days in enumerate((0, 5, -5)):
        stepped.clock.set(days * DAY)
        saved = stepped.client.post(f"/api/v1/projects/{project}/workflows?name=w", json={"n": number})
        versions.append(saved.json()["version"])
    assert versions == [1, 2, 3]
    stepped.studio.check(project)
