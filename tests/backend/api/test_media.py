# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Media and intermediates over HTTP: streamed in, streamed out, described, promoted."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
from blake3 import blake3
from noslop_backend.api.paths import PREFIX
from noslop_backend.api.share_threads import ShareThreads
from noslop_backend.core.errors import InvalidRequestError, ShareUnavailableError
from noslop_backend.services.upload_steps import Steps

from tests.backend.api.serving import Served, limits_for_tests, serving
from tests.backend.studio import Studio, png

MIB = 1024 * 1024


@contextmanager
def _half_an_upload(served: Served, project_id: str) -> Iterator[socket.socket]:
    """A client that has sent some of what it announced, and goes away at the end of the block."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"POST {PREFIX}/projects/{project_id}/media?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
            f"Authorization: {served.client.headers['authorization']}\r\n\r\n"
        )
        connection.sendall(head.encode() + png(1) + bytes(100_000))
        yield connection


def test_an_upload_comes_back_as_it_was(served: Served, project_id: str, studio: Studio) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    content = png(7)
    said = {"name": "Käse.png", "kind": "image", "blake3": blake3(content).hexdigest()}
    answer = served.client.post(f"{at}/media", params=said, content=content)
    assert answer.status_code == 201
    file = answer.json()
    assert (file["name"], file["kind"], file["size_bytes"]) == ("Käse.png", "image", len(content))
    assert answer.headers["location"] == f"{at}/files/{file['id']}"
    assert (studio.root / project_id / file["path"]).read_bytes() == content
    loaded = served.client.get(f"{answer.headers['location']}/content")
    assert (loaded.status_code, loaded.content) == (200, content)
    assert loaded.headers["etag"] == f'"{blake3(content).hexdigest()}"'
    assert loaded.headers["content-type"] == "image/png"
    assert [one["id"] for one in served.client.get(f"{at}/media").json()["items"]] == [file["id"]]
    assert served.client.get(answer.headers["location"]).json() == file


def test_a_body_without_a_length_is_taken(served: Served, project_id: str) -> None:
    content = png(1) + os.urandom(100_000)
    pieces = (content[at : at + 1000] for at in range(0, len(content), 1000))
    answer = served.client.post(f"{PREFIX}/projects/{project_id}/media", params={"name": "x"}, content=pieces)
    assert (answer.status_code, answer.json()["blake3"]) == (201, blake3(content).hexdigest())


def test_a_key_is_one_file(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}/media"
    headers = {"Idempotency-Key": "k1"}
    content = png(1) + os.urandom(9 * MIB)
    answers = [served.client.post(at, params={"name": "x"}, content=content, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = served.client.post(at, params={"name": "y"}, content=content, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    for key in ("ü", "a b", "", "x" * 201):
        answer = served.client.post(
            at, params={"name": "x"}, content=png(2), headers={b"Idempotency-Key": key.encode()}
        )
        assert answer.status_code == 422, key


def test_what_is_refused_leaves_nothing(served: Served, project_id: str, studio: Studio) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    for path, content, status, code in (
        ("media?name=x", b"plain text", 415, "unsupported_media"),
        ("media?name=x&kind=audio", png(1), 415, "unsupported_media"),
        (f"media?name=x&blake3={'0' * 64}", png(1), 422, "content_mismatch"),
        ("media?name=x", b"", 422, "invalid_request"),
        ("intermediate?kind=mask&name=x&blake3=" + "0" * 64, b"x", 422, "content_mismatch"),
        ("intermediate?kind=image&name=x", b"x", 422, "invalid_request"),
        ("media?name=", png(1), 422, "invalid_request"),
        ("media", png(1), 422, "invalid_request"),
        ("media?name=x&blake3=zz", png(1), 422, "invalid_request"),
    ):
        answer = served.client.post(f"{at}/{path}", content=content)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
    assert set(studio.tree(project_id)) == {"metadata.json"}


def test_a_client_that_goes_away_leaves_nothing(served: Served, project_id: str, studio: Studio) -> None:
    with _half_an_upload(served, project_id):
        while not studio.open_intents():
            pass
    while studio.open_intents():
        pass
    assert set(studio.tree(project_id)) == {"metadata.json"}
    assert served.client.get(f"{PREFIX}/projects/{project_id}").json()["reserved_bytes"] == 0


def test_a_large_file_is_never_held_in_memory(served: Served, project_id: str) -> None:
    """Server and client share this process: what either held at once would be seen in its peak."""
    size = 256 * MIB
    block = os.urandom(MIB)

    def pieces() -> Iterator[bytes]:
        yield png(1)
        for _ in range(size // MIB):
            yield block

    served.upload(project_id, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = served.client.post(f"{PREFIX}/projects/{project_id}/media", params={"name": "x"}, content=pieces())
    assert answer.status_code == 201
    assert answer.json()["size_bytes"] == size + len(png(1))
    with served.client.stream("GET", f"{answer.headers['location']}/content") as loaded:
        assert sum(len(piece) for piece in loaded.iter_raw(MIB)) == size + len(png(1))
    with served.client.stream("GET", f"{PREFIX}/projects/{project_id}/archive") as archive:
        assert sum(len(piece) for piece in archive.iter_raw(MIB)) == int(archive.headers["content-length"]) > size
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 64 * MIB


def test_ranges(served: Served, project_id: str) -> None:
    content = png(1) + bytes(range(256))
    at = f"{PREFIX}/projects/{project_id}"
    file = served.client.post(f"{at}/media", params={"name": "x"}, content=content).json()
    size, url = len(content), f"{at}/files/{file['id']}/content"
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=10-", 10, size - 1),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes=-{size + 5}", 0, size - 1),
        (f"bytes={size - 1}-{size + 100}", size - 1, size - 1),
        ("Bytes=3-5", 3, 5),
    ):
        answer = served.client.get(url, headers={"Range": asked})
        if (first, last) == (0, size - 1):
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.headers["content-range"]) == (206, f"bytes {first}-{last}/{size}"), asked
        assert answer.content == content[first : last + 1], asked
        assert answer.headers["content-length"] == str(last - first + 1)
    for asked in (f"bytes={size}-", f"bytes={size + 5}-{size + 9}", "bytes=-0"):
        answer = served.client.get(url, headers={"Range": asked})
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}"), asked
    for asked in (
        "bytes=5-4",
        "bytes=a-b",
        "bytes=",
        "bytes=-",
        "items=0-1",
        "bytes=0-1,4-5",
        f"bytes={'9' * 400}-",
    ):
        answer = served.client.get(url, headers={"Range": asked})
        assert (answer.status_code, len(answer.content)) == (200, size), asked
    etag = served.client.get(url).headers["etag"]
    assert served.client.get(url, headers={"Range": "bytes=0-1", "If-Range": etag}).status_code == 206
    assert served.client.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200


def test_head_and_what_a_client_has_already(served: Served, project_id: str) -> None:
    file = served.upload(project_id, 1)
    url = f"{PREFIX}/projects/{project_id}/files/{file['id']}/content"
    whole, head = served.client.get(url), served.client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges", "content-disposition"):
        assert head.headers[name] == whole.headers[name]
    for method in ("GET", "HEAD"):
        for tag in (whole.headers["etag"], f'"x", W/{whole.headers["etag"]}', "*"):
            answer = served.client.request(method, url, headers={"If-None-Match": tag})
            assert (answer.status_code, answer.content) == (304, b""), tag
        assert served.client.request(method, url, headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize(
    ("name", "saved_as"),
    [
        ("plain.png", "plain.png"),
        ("no extension", "no extension.png"),
        ("Käse 猫.png", "Käse 猫.png"),
        ('"; filename=evil.exe', "_; filename=evil.exe.png"),
        ("../../etc/passwd", "_.._etc_passwd.png"),
        ("C:\\windows\\x.png", "C__windows_x.png"),
        ("%0d%0aSet-Cookie: a=b", "%0d%0aSet-Cookie_ a=b.png"),
        ("'quoted' (1).PNG", "'quoted' (1).PNG"),
        ("\u202egnp.exe", "gnp.exe.png"),
        ("猫" * 200, "猫" * 83 + ".png"),
        ("..", "file.png"),
    ],
)
def test_names_are_data_in_headers_too(served: Served, project_id: str, name: str, saved_as: str) -> None:
    file = served.upload(project_id, 1, name)
    answer = served.client.get(f"{PREFIX}/projects/{project_id}/files/{file['id']}/content")
    header = answer.headers["content-disposition"]
    assert header.isascii()
    kind, plain, full = header.split("; ", 2)
    assert kind == "attachment"
    assert plain.startswith('filename="')
    assert plain.lower().endswith('.png"')
    assert unquote(full.removeprefix("filename*=UTF-8''")) == saved_as
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize(
    ("name", "saved_as"),
    [
        ("h.png", "h.png"),
        ("a film.PNG", "a film.PNG"),
        ("..", "file.png"),
        ("../../x", "_.._x.png"),
        ("東京 タワー", "DongJing tawa.png"),
        ('a"b;c', "a_b_c.png"),
        ("x\\y", "x_y.png"),
        ("猫" * 200, "Mao" * 83 + "M.png"),
    ],
)
def test_curl_saves_a_file_under_its_name(
    served: Served, project_id: str, tmp_path: Path, name: str, saved_as: str
) -> None:
    file = served.upload(project_id, 1, name)
    url = f"{served.url}{PREFIX}/projects/{project_id}/files/{file['id']}/content"
    header = f"Authorization: {served.client.headers['authorization']}"
    subprocess.run(["curl", "-sSfOJ", "-H", header, url], cwd=tmp_path, check=True)
    assert [each.name for each in tmp_path.iterdir()] == [saved_as]
    assert (tmp_path / saved_as).read_bytes() == png(1)


def test_a_jpeg_keeps_its_own_spelling(served: Served, project_id: str) -> None:
    content = b"\xff\xd8\xff\xe0" + b"x" * 20
    at = f"{PREFIX}/projects/{project_id}"
    file = served.client.post(f"{at}/media", params={"name": "photo.jpeg"}, content=content).json()
    assert re.fullmatch(r"generated/images/photo-[0-9a-z]{13}\.jpg", file["path"])
    for method in ("GET", "HEAD"):
        answer = served.client.request(method, f"{at}/files/{file['id']}/content")
        assert answer.headers["content-disposition"].startswith('attachment; filename="photo.jpeg"; ')


def test_head_of_what_is_gone_is_404(served: Served, project_id: str, studio: Studio) -> None:
    """As a GET says it: the share is asked, and the trash is not what a visible path leads to."""
    at = f"{PREFIX}/projects/{project_id}"
    vanished, trashed = served.upload(project_id, 1), served.upload(project_id, 2)
    lies_at = studio.root / project_id / str(vanished["path"])
    lies_at.rename(studio.root.parent / "elsewhere")
    served.client.delete(f"{at}/files/{trashed['id']}").raise_for_status()
    for file in (vanished, trashed):
        url = f"{at}/files/{file['id']}/content"
        assert [served.client.request(method, url).status_code for method in ("GET", "HEAD")] == [404, 404]
    (studio.root.parent / "elsewhere").rename(lies_at)


def test_what_is_known_of_a_file(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    source = served.upload(project_id, 1)
    answer = served.client.post(
        f"{at}/media", params={"name": "y", "inputs": str(source["id"]), "parameters": '{"seed": 1}'}, content=png(2)
    )
    url = f"{answer.headers['location']}/metadata"
    known = served.client.get(url).json()
    assert (known["parameters"], known["inputs"]) == ({"seed": 1}, [source["id"]])
    saved = served.client.post(url, json={"parameters": {"seed": 2}})
    assert (saved.status_code, saved.json()["kind"]) == (201, "sidecar")
    assert served.client.get(url).json()["parameters"] == {"seed": 2}
    sidecars = served.client.get(f"{at}/files", params={"of_file_id": answer.json()["id"]}).json()["items"]
    assert len(sidecars) == 2
    assert served.client.get(f"{at}/media").json()["items"][-1]["id"] == source["id"]


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("logo", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "image/svg+xml"),
        ("page.html", b"<script>alert(1)</script>", "text/plain; charset=utf-8"),
        ("unknown.xyz", bytes(20), "application/octet-stream"),
    ],
)
def test_other_files_are_only_ever_downloaded(
    served: Served, project_id: str, name: str, content: bytes, content_type: str
) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    answer = served.client.post(f"{at}/media", params={"name": name}, content=content)
    assert (answer.status_code, answer.json()["kind"]) == (201, "other")
    loaded = served.client.get(f"{answer.headers['location']}/content")
    assert loaded.content == content
    assert loaded.headers["content-type"] == content_type
    assert loaded.headers["content-disposition"].startswith("attachment; ")
    assert loaded.headers["x-content-type-options"] == "nosniff"
    assert loaded.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert served.client.get(f"{at}/files", params={"kind": "other"}).json()["items"] == [answer.json()]
    assert served.client.get(f"{at}/stats").json()["other_count"] == 1
    refused = served.client.post(f"{at}/media", params={"name": "x", "kind": "image"}, content=content)
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media")


def test_promotion_never_overwrites(served: Served, project_id: str, studio: Studio) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    file = served.upload(project_id, 1)
    used = served.client.get(at).json()["used_bytes"]
    finals = [served.client.post(f"{at}/files/{file['id']}/promote", json={"name": "the end"}) for _ in range(2)]
    assert [answer.status_code for answer in finals] == [201, 201]
    paths = {answer.json()["path"] for answer in finals}
    assert len(paths) == 2
    for path in paths:
        assert (studio.root / project_id / path).samefile(studio.root / project_id / str(file["path"]))
    assert [answer.json()["charged_bytes"] for answer in finals] == [0, 0]
    assert served.client.get(at).json()["used_bytes"] > used
    assert served.client.post(f"{at}/files/{file['id']}/promote").json()["name"] == file["name"]


def test_uploads_at_once_are_limited(studio: Studio) -> None:
    with serving(studio.storage, limits_for_tests(uploads=1, uploads_per_token=1)) as served:
        project_id = served.project()
        with _half_an_upload(served, project_id):
            while not studio.open_intents():
                pass
            answer = served.client.post(f"{PREFIX}/projects/{project_id}/media", params={"name": "x"}, content=png(1))
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
            assert int(answer.headers["retry-after"]) >= 1
        while studio.open_intents():
            pass
        served.upload(project_id, 1)


def test_a_step_that_hangs_is_followed_by_none(studio: Studio, project: str) -> None:
    """The upload is undone by the step itself, when it comes back: never by somebody else beside it."""
    pool, gate = ShareThreads(threads=2, waiting=2, limit_s=0.01), threading.Event()
    steps = Steps(studio.storage.begin_generated_media(project, "x"))
    with pytest.raises(ShareUnavailableError):
        pool.run(steps.run, gate.wait)
    assert not steps.give_up()
    with pytest.raises(InvalidRequestError):
        steps.write(png(1))
    assert len(studio.open_intents()) == 1
    gate.set()
    assert pool.drained(60)
    studio.check(project)


def test_a_client_that_stops_sending_is_given_up(served: Served, project_id: str, studio: Studio) -> None:
    served.state.limits.body_idle_s = 0.05
    with _half_an_upload(served, project_id) as connection:
        answer = connection.makefile("rb").readline()
    assert answer.startswith(b"HTTP/1.1 408 ")
    while studio.open_intents():
        pass
    assert set(studio.tree(project_id)) == {"metadata.json"}
