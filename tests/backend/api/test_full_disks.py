# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that are really full: a small file system, with less and less room until nothing fits, on both databases."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from noslop_backend.share import layout

from tests.backend.api.serving import Served, serving
from tests.backend.mounts import full, mounted, small
from tests.backend.studio import Studio, make_sqlite, make_studio, png

#: More than one block, so that it can end in the middle.
LARGE = png(7, {"prompt": "{}"}) + b"x" * 20_000


@pytest.fixture
def studio(database_url: str, place: Path) -> Iterator[Studio]:
    """A studio whose share is small; its database has room."""
    with small(place / "small"):
        made = make_studio(place / "small", database_url)
        yield made
        made.close()


@pytest.fixture
def served(studio: Studio) -> Iterator[Served]:
    with serving(studio.storage) as server:
        yield server


def is_full(answer: httpx.Response) -> bool:
    """Whether it says so, and all that is to be said of it; else it has to be done."""
    if answer.status_code in {200, 201}:
        return False
    assert answer.status_code == 507, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "storage_full"
    assert problem["used_bytes"] > 0
    assert problem["free_bytes"] >= 0
    assert problem["asked_bytes"] >= 0
    return True


class Request:
    """One request to a project, the same each time."""

    def __init__(self, served: Served, studio: Studio, place: Path) -> None:
        self.served = served
        self.studio = studio
        self.place = place
        self.project = served.project()
        self.at = f"/api/v1/projects/{self.project}"
        self.stack = ExitStack()
        self.prepare()

    def prepare(self) -> None:
        """Do what has to be there before."""

    def send(self) -> httpx.Response:
        raise NotImplementedError

    def post(self, path: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        return self.served.client.post(f"{self.at}{path}", headers={"Idempotency-Key": "once"}, **more)

    def seen(self) -> dict[str, Any]:
        """Whatever a request that failed leaves as it was."""
        rows = {row.id: row.model_dump() for row in self.studio.rows(self.project)}
        projects = self.served.client.get("/api/v1/projects").json()
        on_share = sorted(path.name for path in self.studio.root.iterdir())
        return {"tree": self.studio.tree(self.project), "rows": rows, "projects": projects, "share": on_share}

    def after(self) -> None:
        """Assert what has to be true of everything when there is room again and it was done."""
        self.stack.close()
        self.studio.check(self.project)


class UploadRequest(Request):
    def send(self) -> httpx.Response:
        return self.post("/media?name=large", content=LARGE)


class StreamRequest(Request):
    """The length is not known before, and bytes are reserved in steps."""

    def send(self) -> httpx.Response:
        return self.post("/media?name=large", content=iter([LARGE[:9000], LARGE[9000:]]))


class WorkflowRequest(Request):
    def send(self) -> httpx.Response:
        return self.post("/workflows?name=w", json={"n": "x" * 9000})


class AdoptRequest(Request):
    """The worker's file is there already: what has no room is its sidecar, and its name."""

    def prepare(self) -> None:
        self.ticket = self.post("/adoptions", json={"name": "a.png", "size_bytes": len(LARGE)}).json()
        Path(self.ticket["staging_path"]).write_bytes(LARGE)

    def send(self) -> httpx.Response:
        return self.served.client.post(f"{self.at}/adoptions/{self.ticket['ticket_id']}/adopt")


class LinkRequest(Request):
    def prepare(self) -> None:
        self.file = self.served.upload(self.project, 1)

    def send(self) -> httpx.Response:
        return self.post(f"/files/{self.file['id']}/promote", json={"name": "Poster"})


class CopyRequest(Request):
    """The source is on another file system, so that the final is a copy."""

    def prepare(self) -> None:
        uploaded = self.served.client.post(f"{self.at}/media?name=large", content=LARGE)
        self.file = uploaded.json()
        images = self.studio.root / self.project / "generated" / "images"
        shutil.copytree(images, self.place / "images")
        self.stack.enter_context(mounted("tmpfs", images, "size=1m"))
        shutil.copytree(self.place / "images", images, dirs_exist_ok=True)

    def send(self) -> httpx.Response:
        return self.post(f"/files/{self.file['id']}/promote", json={"name": "Poster"})

    def after(self) -> None:
        super().after()
        final = self.served.client.get(f"{self.at}/files?kind=final").json()["items"][0]
        assert final["charged_bytes"] == len(LARGE)
        one, two = (os.stat(self.studio.root / self.project / str(file["path"])) for file in (final, self.file))
        assert one.st_ino != two.st_ino


class ProjectRequest(Request):
    """Another project: its directories, its metadata.json."""

    def send(self) -> httpx.Response:
        headers = {"Idempotency-Key": "once"}
        return self.served.client.post(
            "/api/v1/projects", headers=headers, json={"name": "Second", "settings": {"n": "x" * 9000}}
        )


REQUESTS = [
    UploadRequest,
    StreamRequest,
    WorkflowRequest,
    AdoptRequest,
    LinkRequest,
    CopyRequest,
    ProjectRequest,
]


@pytest.mark.parametrize(
    ("new_database", "scarce", "kind"),
    [
        *(("sqlite", scarce, kind) for scarce in ("blocks", "inodes") for kind in REQUESTS),
        # What a write does on the share is the same on both.
        *(("postgresql", "blocks", kind) for kind in (UploadRequest, AdoptRequest, ProjectRequest)),
    ],
    indirect=["new_database"],
)
def test_without_room_nothing_is_kept_and_with_room_it_is_done(
    served: Served, studio: Studio, place: Path, kind: type[Request], scarce: str
) -> None:
    request = kind(served, studio, place)
    before, held = request.seen(), studio.storage.get_store_stats().reserved_bytes
    intents = [intent.id for intent in studio.open_intents()]
    failed = 0
    for left in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24):
        with full(place / "small", **{scarce: left}):
            answer = request.send()
            if not is_full(answer):
                break
            failed += 1
            assert request.seen() == before
            assert studio.storage.get_store_stats().reserved_bytes == held
            assert [intent.id for intent in studio.open_intents()] == intents
    assert failed >= 1
    assert answer.is_success
    assert request.send().json() == answer.json()
    request.after()


def test_metadata_waits_for_room_and_is_whole_all_the_time(served: Served, studio: Studio, place: Path) -> None:
    """A change of a project is only ever finished: the database has it, and metadata.json follows."""
    project = served.project()
    metadata = studio.root / project / layout.METADATA
    before = metadata.read_bytes()
    change: dict[str, Any] = {"headers": {"Idempotency-Key": "once"}, "json": {"settings": {"n": "x" * 9000}}}
    for left in range(4):
        with full(place / "small", blocks=left):
            answer = served.client.patch(f"/api/v1/projects/{project}", **change)
            if not is_full(answer):
                break
            assert metadata.read_bytes() == before
    assert left > 1
    assert answer.is_success
    assert b"xxxx" in metadata.read_bytes()
    studio.check(project)


def test_the_disk_fills_up_in_the_middle_of_a_body(served: Served, studio: Studio, place: Path) -> None:
    project = served.project()
    before = studio.tree(project)

    def body() -> Iterator[bytes]:
        yield LARGE[:9000]
        stack.enter_context(full(place / "small", blocks=0))
        yield LARGE[9000:]

    with ExitStack() as stack:
        assert is_full(served.client.post(f"/api/v1/projects/{project}/media?name=m", content=body()))
    assert studio.tree(project) == before
    studio.check(project)
    served.upload(project, 1)
    studio.check(project)


def test_the_disk_of_the_database_is_full(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """SQLite has no room for its log: nothing is begun, readers are served, and afterwards all is as before."""
    with small(place / "small"):
        url = f"sqlite:///{make_sqlite(place / 'small' / 'backend.sqlite3')}"
        studio = make_studio(place, url)
        with serving(studio.storage) as served:
            project = served.project()
            before, file = studio.tree(project), served.upload(project, 1)
            at, key = f"/api/v1/projects/{project}", {"Idempotency-Key": "once"}
            before = studio.tree(project)
            calls: list[Callable[[], httpx.Response]] = [
                lambda: served.client.post(f"{at}/media?name=large", headers=key, content=LARGE),
                lambda: served.client.post(f"{at}/workflows?name=w", headers=key, json={}),
                lambda: served.client.patch(at, json={"name": "Other"}),
                lambda: served.client.delete(f"{at}/files/{file['id']}"),
            ]
            with full(place / "small", blocks=0):
                for call in calls:
                    answer = call()
                    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
                    assert int(answer.headers["retry-after"]) >= 1
                    assert "disk" in answer.json()["detail"]
                assert served.client.get(at).json()["name"] == "A project"
                assert studio.tree(project) == before
            assert [call().is_success for call in (calls[0], calls[2], calls[3])] == [True] * 3
            studio.check(project)
        studio.close()
    assert "Traceback" not in capfd.readouterr().err


def test_a_small_file_system_is_small(place: Path) -> None:
    """What the tests above stand on."""
    with small(place / "small"), full(place / "small", blocks=0):
        with pytest.raises(OSError, match="No space left"):
            (place / "small" / "more").write_bytes(b"x")
        assert os.statvfs(place / "small").f_bavail == 0
