# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test zip archives over HTTP: whole and byte for byte, refused before the first byte, or visibly broken off."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import httpx
import pytest
from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import Served, limits_for_tests, serving
from tests.backend.studio import Studio, png

MIB = 1024 * 1024
#: Much more than lies between the server and a client of `reading_slowly`.
LARGE_BYTES = 16 * MIB


def archive_of(served: Served, project_id: str, **params: str | list[str]) -> httpx.Response:
    """Ask for an archive. Return the answer, after a HEAD has had the same status and headers."""
    url = f"{PREFIX}/projects/{project_id}/archive"
    answer, head = (served.reader.request(method, url, params=params) for method in ("GET", "HEAD"))
    assert head.status_code == answer.status_code
    if answer.status_code == 200:
        skipped = {"date"}
        assert [each for each in head.headers.items() if each[0] not in skipped] == [
            each for each in answer.headers.items() if each[0] not in skipped
        ]
        assert int(head.headers["content-length"]) == len(answer.content)
    return answer


def contents_of(answer: httpx.Response) -> dict[str, bytes]:
    """Return what an archive has, by path, as Python's zipfile reads it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == len(archive.namelist())
        return {name: archive.read(name) for name in archive.namelist()}


@contextmanager
def reading_slowly(served: Served, project_id: str) -> Iterator[Iterator[bytes]]:
    """Ask for an archive of which no more is sent than what is read. Yield its pieces."""
    small = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)])
    url = f"{served.url}{PREFIX}/projects/{project_id}/archive"
    with (
        httpx.Client(transport=small, headers=served.reader.headers, timeout=httpx.Timeout(None)) as client,
        client.stream("GET", url) as answer,
    ):
        assert answer.status_code == 200
        yield answer.iter_raw()


def upload_large(served: Served, project_id: str) -> dict[str, Any]:
    """Upload a file of `LARGE_BYTES`; return it."""
    at, content = f"{PREFIX}/projects/{project_id}/media", bytes(LARGE_BYTES)
    file: dict[str, Any] = served.client.post(at, params={"name": "large", "kind": "other"}, content=content).json()
    assert file["size_bytes"] == LARGE_BYTES
    return file


def lies_at(studio: Studio, file: dict[str, Any]) -> Path:
    """Return where a file lies on the share."""
    return studio.root / str(file["project_id"]) / str(file["path"])


def test_a_project_is_one_archive_of_the_names_that_users_gave(served: Served, project_id: str) -> None:
    at, client = f"{PREFIX}/projects/{project_id}", served.client
    names = ("pixel.png", "Pixel.png", "pixel.png", "東京 タワー", "../../etc/passwd", "con")
    files = [served.upload(project_id, number, name) for number, name in enumerate(names)]
    for number in (1, 2):
        client.post(f"{at}/workflows", params={"name": "Load"}, json={"number": number}).raise_for_status()
    client.post(f"{at}/prompts", params={"name": "猫.txt"}, content="a cat").raise_for_status()
    client.post(
        f"{at}/intermediate", params={"kind": "latent", "name": "l.latent"}, content=b"latent"
    ).raise_for_status()
    client.post(f"{at}/files/{files[0]['id']}/promote", json={"name": "Poster"}).raise_for_status()
    gone = served.upload(project_id, 9, "gone.png")
    served.storage.trash(project_id, [str(gone["id"])])
    answer = archive_of(served, project_id)
    assert contents_of(answer) == {
        "generated/images/pixel.png": png(0),
        "generated/images/Pixel (2).png": png(1),
        "generated/images/pixel (3).png": png(2),
        "generated/images/東京 タワー.png": png(3),
        "generated/images/_.._etc_passwd.png": png(4),
        "generated/images/_con.png": png(5),
        "workflows/Load_v0001.json": b'{"number":1}',
        "workflows/Load_v0002.json": b'{"number":2}',
        "prompts/猫_v0001.txt": b"a cat",
        "intermediate/latents/l.latent": b"latent",
        "final/Poster.png": png(0),
    }
    assert answer.headers["content-disposition"].startswith('attachment; filename="A project.zip"; ')
    with ZipFile(io.BytesIO(answer.content)) as archive:
        saved = datetime.fromisoformat(str(files[0]["created_at"])).astimezone().timetuple()
        # The format counts two seconds at a time.
        assert archive.getinfo("generated/images/pixel.png").date_time == (*saved[:5], saved.tm_sec // 2 * 2)


def test_an_archive_has_the_files_or_kinds_that_are_named(served: Served, project_id: str) -> None:
    files = [served.upload(project_id, number, f"{number}.png") for number in range(3)]
    named = [str(files[2]["id"]), str(files[0]["id"]), str(files[2]["id"])]
    assert contents_of(archive_of(served, project_id, file_id=named)) == {
        "generated/images/0.png": png(0),
        "generated/images/2.png": png(2),
    }
    assert contents_of(archive_of(served, project_id, kind=["workflow", "prompt"])) == {}
    assert len(contents_of(archive_of(served, project_id, kind=["image", "sidecar"]))) == 6
    for wrong in ({"file_id": named, "kind": "image"}, {"file_id": "0"}, {"file_id": ["0" * 13] * 1001}, {"ids": "0"}):
        assert archive_of(served, project_id, **wrong).status_code == 422


def test_an_archive_of_an_empty_project_is_empty(served: Served, project_id: str) -> None:
    assert contents_of(archive_of(served, project_id)) == {}


def test_files_that_are_not_there_are_named_before_the_first_byte(local: Studio) -> None:
    with serving(local.storage) as served:
        project_id = served.project()
        kept, trashed, vanished, grown = (served.upload(project_id, number, f"{number}.png") for number in range(4))
        served.storage.trash(project_id, [str(trashed["id"])])
        assert len(contents_of(archive_of(served, project_id))) == 3
        lies_at(local, vanished).rename(local.root.parent / "elsewhere")
        lies_at(local, vanished).symlink_to(local.root.parent / "elsewhere")
        lies_at(local, grown).chmod(0o644)
        lies_at(local, grown).write_bytes(png(3) + b"more")
        cases: list[tuple[list[dict[str, object]], int, str]] = [
            ([kept, trashed], 409, f"{trashed['id']} is trashed"),
            ([kept, {"id": "0" * 13}], 404, "0" * 13),
            ([kept, vanished], 404, str(vanished["path"])),
            ([kept, grown], 409, str(grown["path"])),
            ([], 404, str(vanished["path"])),
        ]
        for wanted, status, word in cases:
            answer = archive_of(served, project_id, file_id=[str(file["id"]) for file in wanted])
            assert (answer.status_code, word in answer.json()["detail"]) == (status, True), answer.text
        assert len(contents_of(archive_of(served, project_id, file_id=str(kept["id"])))) == 1


def test_a_file_of_other_content_breaks_the_archive_off(local: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(local.storage) as served:
        project_id = served.project()
        file, _ = (served.upload(project_id, number) for number in (1, 2))
        lies_at(local, file).chmod(0o644)
        lies_at(local, file).write_bytes(bytes(len(png(1))))
        received: list[bytes] = []
        with reading_slowly(served, project_id) as pieces, pytest.raises(httpx.RemoteProtocolError):
            received.extend(pieces)
        assert f"{file['path']} is not what was saved" in capsys.readouterr().err
        with pytest.raises(BadZipFile):
            ZipFile(io.BytesIO(b"".join(received)))
        assert served.state.disk.drained(60)


def test_uploads_and_removals_beside_an_archive_leave_it_whole(local: Studio) -> None:
    with serving(local.storage) as served:
        project_id = served.project()
        upload_large(served, project_id)
        trashed = served.upload(project_id, 1, "trashed.png")
        with reading_slowly(served, project_id) as pieces:
            received = next(pieces)
            served.upload(project_id, 2, "new.png")
            served.storage.trash(project_id, [str(trashed["id"])])
            received += b"".join(pieces)
        with ZipFile(io.BytesIO(received)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == ["generated/other/large.bin", "generated/images/trashed.png"]
        assert set(contents_of(archive_of(served, project_id))) == {
            "generated/other/large.bin",
            "generated/images/new.png",
        }


def test_a_client_that_goes_away_gives_its_place_and_thread_back(local: Studio) -> None:
    limits = limits_for_tests(archives=1, archives_per_token=1, disk_threads=1)
    with serving(local.storage, limits) as served:
        project_id = served.project()
        path = lies_at(local, upload_large(served, project_id))
        url = f"{PREFIX}/projects/{project_id}/archive"
        with reading_slowly(served, project_id) as pieces:
            next(pieces)
            refused = served.writer.get(url)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            # The only thread for the share is free while the client reads nothing.
            served.upload(project_id, 1)
        while served.writer.head(url).status_code == 429:
            pass
        assert served.state.disk.drained(60)
        assert str(path) not in {os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")}
