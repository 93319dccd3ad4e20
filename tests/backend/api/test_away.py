# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The share goes away in the middle of a write and comes back, is not there at the start, or is another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from noslop_backend.api.paths import PREFIX
from noslop_backend.schemas import ProjectCreate
from noslop_backend.share import layout

from tests.backend.api.serving import limits_for_tests, serving
from tests.backend.mounts import Passing
from tests.backend.studio import STUDIO, Studio, make_studio, png, write_marker


@pytest.fixture
def share(place: Path) -> Iterator[Passing]:
    """Where the studio's share is mounted."""
    with Passing.mounted(place / "disk", place / "projects") as mounted:
        yield mounted


@pytest.fixture
def studio(database_url: str, place: Path, share: Passing) -> Iterator[Studio]:
    """A studio on a share that can go away."""
    assert share.path == place / "projects"
    made = make_studio(place, database_url)
    yield made
    made.close()


def is_away(answer: httpx.Response) -> bool:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    return bool(answer.json()["code"] == "share_unavailable")


def visible(studio: Studio, project: str) -> set[str]:
    return {path for path in studio.tree(project) if not path.startswith(layout.STAGING)}


@pytest.mark.parametrize("route", ["media", "intermediate"])
def test_it_hangs_in_the_midst_of_a_body(studio: Studio, share: Passing, route: str) -> None:
    """What was begun is undone when it answers again, nothing half is seen, and the same key gives one file."""
    with serving(studio.storage, limits_for_tests(disk_limit_s=30)) as served:
        project = served.project()
        at = f"{PREFIX}/projects/{project}/{route}"
        request: dict[str, Any] = {
            "params": {"name": "m"} | ({"kind": "frame"} if route == "intermediate" else {}),
            "headers": {"Idempotency-Key": "once", "Content-Length": str(len(png(1)))},
        }

        def body() -> Iterator[bytes]:
            yield png(1)[:30]
            share.hang()
            # A slow host is no reason to give up; a share that hangs is.
            served.state.disk.limit_s = 0.2
            yield png(1)[30:]

        assert is_away(served.client.post(at, **request, content=body()))
        assert served.client.get(f"{PREFIX}/projects/{project}").json()["media_count"] == 0
        share.resume()
        served.state.disk.limit_s = 30
        assert served.state.disk.drained(60)
        studio.storage.recover()
        assert visible(studio, project) == {layout.METADATA}
        assert studio.storage.get_project(project).reserved_bytes == 0
        again = [served.client.post(at, **request, content=png(1)) for _ in range(2)]
        assert [answer.status_code for answer in again] == [201, 201]
        assert again[0].json() == again[1].json()
        studio.check(project)


def test_it_is_unmounted_in_the_midst_of_a_body(studio: Studio, share: Passing) -> None:
    """Descriptors that were open lead nowhere. An empty directory is no share: nothing is written or removed there."""
    # A lease that is over stands for the minute that a client would wait.
    with serving(studio.another(lease_s=0)) as served:
        project = served.project()
        kept = served.upload(project, 9)
        at = f"{PREFIX}/projects/{project}"
        headers = {"Idempotency-Key": "once", "Content-Length": str(len(png(1)))}
        before = visible(studio, project)

        def body() -> Iterator[bytes]:
            yield png(1)[:30]
            share.unmount()
            yield png(1)[30:]

        assert is_away(served.client.post(f"{at}/media?name=m", headers=headers, content=body()))
        for answer in (
            served.client.post(f"{at}/media?name=m", headers=headers, content=png(1)),
            served.client.delete(f"{at}/files/{kept['id']}"),
            served.client.delete(at),
            served.client.get(f"{at}/files/{kept['id']}/content"),
        ):
            assert is_away(answer)
        assert list(share.path.iterdir()) == []
        assert served.client.get(at).json()["media_count"] == 1
        assert served.client.get(f"{PREFIX}/health").json()["share"]["status"] == "degraded"
        share.mount()
        assert visible(studio, project) == before
        again = [served.client.post(f"{at}/media?name=m", headers=headers, content=png(1)) for _ in range(2)]
        assert [answer.status_code for answer in again] == [201, 201]
        assert again[0].json() == again[1].json()
        assert served.client.get(f"{PREFIX}/health/ready").status_code == 200
        studio.check(project)


def test_it_is_not_mounted_at_the_start(studio: Studio, share: Passing) -> None:
    """The service starts, serves what the database knows, refuses writes, and needs no restart when the share comes."""
    project = studio.storage.create_project_structure(ProjectCreate(name="A film")).id
    share.unmount()
    with serving(studio.another()) as served:
        at = f"{PREFIX}/projects/{project}"
        assert served.client.get(at).json()["id"] == project
        assert is_away(served.client.post(f"{at}/workflows?name=w", json={}))
        assert served.client.get(f"{PREFIX}/health").json()["share"]["status"] == "degraded"
        assert served.client.get(f"{PREFIX}/health/ready").status_code == 503
        assert list(share.path.iterdir()) == []
        assert studio.open_intents() == []
        share.mount()
        assert served.client.post(f"{at}/workflows?name=w", json={}).json()["version"] == 1
        assert served.client.get(f"{PREFIX}/health/ready").status_code == 200
    studio.check(project)


def test_it_comes_back_as_another_one(studio: Studio, share: Passing) -> None:
    """Another UUID is another share: neither writes nor removals, until the right one is back."""
    with serving(studio.storage) as served, ExitStack() as stack:
        project = served.project()
        file = served.upload(project, 1)
        at = f"{PREFIX}/projects/{project}"
        before, rows = studio.tree(project), [row.model_dump() for row in studio.rows(project)]
        write_marker(studio.root, STUDIO)
        stack.callback(write_marker, studio.root, share_id=studio.share_id)
        for answer in (
            served.client.post(f"{at}/media?name=m", content=png(2)),
            served.client.post(f"{at}/workflows?name=w", json={}),
            served.client.post(f"{at}/files/{file['id']}/promote"),
            served.client.delete(f"{at}/files/{file['id']}"),
            served.client.patch(at, json={"name": "Other"}),
            served.client.delete(at),
        ):
            assert is_away(answer)
            assert "another share" in answer.json()["detail"]
        assert served.client.get(f"{PREFIX}/health/ready").status_code == 503
        stack.close()
        assert studio.tree(project) == before
        assert [row.model_dump() for row in studio.rows(project)] == rows
        assert served.client.post(f"{at}/workflows?name=w", json={}).status_code == 201
        studio.check(project)
