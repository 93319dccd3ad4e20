# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that say something which would not happen are refused; nothing of them is kept."""

from __future__ import annotations

import json
import re

import pytest
from blake3 import blake3
from fastapi.routing import APIRoute
from noslop_backend.api.paths import PREFIX
from noslop_backend.api.route import StrictRoute

from tests.backend.api.serving import Served, serving
from tests.backend.studio import Studio, png

FORM = "multipart/form-data; boundary=edge"


def form(*parts: tuple[str, bytes], end: bytes = b"--edge--\r\n") -> bytes:
    """Return a form of parts, each with its Content-Disposition and its content."""
    return (
        b"".join(
            b"--edge\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
            for disposition, content in parts
        )
        + end
    )


def test_every_route_is_strict(served: Served) -> None:
    routes = [route for route in served.app.routes if isinstance(route, APIRoute)]
    operations = {name for path in served.app.openapi()["paths"].values() for name in path}
    assert operations
    assert all(isinstance(route, StrictRoute) for route in routes)


@pytest.mark.parametrize(
    ("request_line", "word"),
    [
        ("POST media?name=x.png&inputz=0", "did you mean 'inputs'"),
        ("POST media?name=x.png&input=0", "did you mean 'inputs'"),
        ("POST media?name=x.png&expected_blake3=0", "did you mean 'blake3'"),
        ("POST media?name=x.png&params={}", "did you mean 'parameters'"),
        ("POST media?name=x.png&Name=y", "did you mean 'name'"),
        ("POST media?name=x.png&name=y.png", "given 2 times"),
        ("POST workflows?name=x&key=1", "there are"),
        ("GET files?sort=name", "there are"),
        ("GET files?seed=1", "there are"),
        ("GET media?offset=5", "there are"),
        ("GET files?limit=1&limit=2", "given 2 times"),
        ("GET ?verbose=1", "has no query"),
        ("GET stats?x", "has no query"),
        ("DELETE ?force=1", "has no query"),
    ],
)
def test_unknown_words_of_a_query_are_refused(
    served: Served, project_id: str, studio: Studio, request_line: str, word: str
) -> None:
    method, path = request_line.split(" ")
    answer = served.client.request(method, f"{PREFIX}/projects/{project_id}{'' if path[0] == '?' else '/'}{path}",
                                   content=png(1) if method == "POST" else None)  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert word in answer.json()["detail"]
    assert set(studio.tree(project_id)) == {"metadata.json"}


def test_words_are_refused_outside_of_projects_too(served: Served) -> None:
    for path in ("health", "health/ready", "projects", "stats", "metrics", "openapi.json"):
        assert served.client.get(f"{PREFIX}/{path}?x=1").status_code == 422, path
    assert served.client.get("/docs?x=1").status_code == 422


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "aws-chunked"])
@pytest.mark.parametrize(
    "path", ["media?name=x", "intermediate?kind=mask&name=x", "workflows?name=x", "prompts?name=x", "files/restore"]
)
def test_encoded_bodies_are_refused(served: Served, project_id: str, path: str, encoding: str) -> None:
    answer = served.client.post(
        f"{PREFIX}/projects/{project_id}/{path}", content=b"{}", headers={"Content-Encoding": encoding}
    )
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")


def test_the_file_of_a_form_is_what_is_kept(served: Served, project_id: str, studio: Studio) -> None:
    """The content comes in many pieces, and has what looks like a boundary in it."""
    at = f"{PREFIX}/projects/{project_id}"
    content = png(3) + b"\r\n--edg\r\n-" * 3 + bytes(300_000) + b"\r\n--edg"
    body = form(('name="file"; filename="a b.png"', content))
    for sent in (body, iter([body[at_ : at_ + 977] for at_ in range(0, len(body), 977)])):
        answer = served.client.post(
            f"{at}/media?name=x.png&blake3={blake3(content).hexdigest()}", content=sent, headers={"Content-Type": FORM}
        )
        assert answer.status_code == 201, answer.text
        assert (studio.root / project_id / answer.json()["path"]).read_bytes() == content


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (form(('name="file"; filename="a"', png(1)), ('name="b"; filename="b"', png(2))), "several files"),
        (form(('name="name"', b"x"), ('name="file"; filename="a"', png(1))), "the field 'name', which is no file"),
        (form(), "no file"),
        (form(('name="file"; filename="a"', png(1)), end=b""), "ends in the middle"),
        (form(('name="file"; filename="a"', b"")), "is empty"),
        (b"not a form", "malformed"),
        (b"", "ends in the middle"),
    ],
)
def test_other_forms_are_refused(served: Served, project_id: str, studio: Studio, body: bytes, message: str) -> None:
    at = f"{PREFIX}/projects/{project_id}/intermediate?kind=mask&name=x"
    answer = served.client.post(at, content=body, headers={"Content-Type": FORM})
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["detail"]
    while studio.open_intents():
        pass
    assert set(studio.tree(project_id)) == {"metadata.json"}


def test_other_multipart_messages_and_empty_bodies_are_refused(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    mixed = {"Content-Type": "multipart/mixed; boundary=edge"}
    assert served.client.post(f"{at}/media?name=x", content=form(), headers=mixed).status_code == 415
    bare = {"Content-Type": "multipart/form-data"}
    assert served.client.post(f"{at}/media?name=x", content=form(), headers=bare).status_code == 422
    for path in ("media?name=x", "intermediate?kind=latent&name=x", "workflows?name=x", "prompts?name=x"):
        answer = served.client.post(f"{at}/{path}", content=b"")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), path


@pytest.mark.parametrize(
    ("kind", "body", "kept"),
    [
        ("application/json", b'"a cat"', b"a cat"),
        ("text/json", b' "a \\u732b" ', "a 猫".encode()),
        ("application/vnd.noslop+json; charset=utf-8", b'{"a":1}', b'{"a":1}'),
        ("application/json", b"{broken", None),
        ("application/json", b"[1]", None),
        ("application/json", b"7", None),
        ("application/json", b"null", None),
        ("application/json", '"a"'.encode("utf-16"), None),
        ("text/plain", b"{broken", b"{broken"),
        ("text/plain", "a".encode("utf-16"), None),
    ],
)
def test_prompts_in_json_are_parsed(
    served: Served, project_id: str, kind: str, body: bytes, kept: bytes | None
) -> None:
    at = f"{PREFIX}/projects/{project_id}/prompts"
    answer = served.client.post(f"{at}?name=p", content=body, headers={"Content-Type": kind})
    if kept is None:
        assert answer.status_code == 422, answer.text
        assert not re.search("codec|0x|Traceback", answer.json()["detail"])
        return
    assert answer.status_code == 201, answer.text
    loaded = served.client.get(f"{at}/content?name=p").content
    assert loaded == kept if kept[:1] != b"{" or kind == "text/plain" else json.loads(loaded) == json.loads(kept)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-16-be", "latin-1"])
def test_a_workflow_in_another_encoding_is_refused(served: Served, project_id: str, encoding: str) -> None:
    """Its references would not be found, and cleanup would remove what it needs."""
    at = f"{PREFIX}/projects/{project_id}"
    latent = served.client.post(f"{at}/intermediate?kind=latent&name=l", content=b"x").json()["path"]
    body = json.dumps({"image": latent, "text": "ä"}, ensure_ascii=False)
    answer = served.client.post(f"{at}/workflows?name=w", content=body.encode(encoding))
    assert answer.status_code == 422
    assert "UTF-8" in answer.json()["detail"]
    if encoding != "latin-1":
        assert encoding[:6].upper() in answer.json()["detail"]
    # As PowerShell writes it when it is told to: with a mark in front.
    marked = served.client.post(f"{at}/workflows?name=w", content=body.encode("utf-8-sig"))
    assert marked.status_code == 201
    report = served.client.post(f"{at}/intermediate/cleanup", json={"dry_run": False}).json()
    assert (report["files_count"], report["kept_referenced_count"]) == (0, 1)


def test_vendors_types_of_json_are_taken(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}/workflows?name=w"
    for kind in ("application/vnd.comfy+json", "text/json", "Application/JSON;charset=utf-8"):
        assert served.client.post(at, content=b"{}", headers={"Content-Type": kind}).is_success, kind


@pytest.mark.parametrize("content_type", ["text/json", "application/problem+json; charset=utf-8"])
def test_every_type_of_json_is_read(served: Served, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = served.client.post("/api/v1/projects", content=b'{"name": "A"}', headers=headers)
    assert (answer.status_code, answer.json()["name"]) == (201, "A")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "detail"),
    [
        ("text/plain", '{"name": "A"}', 415, "Content-Type: application/json"),
        (None, '{"name": "A"}', 415, "Content-Type: application/json"),
        ("application/x-www-form-urlencoded", "name=A", 415, "Content-Type: application/json"),
        ("application/json", '{"name": "A"', 422, "no JSON at character 12"),
        ("application/json", "[]", 422, "body: it is to be a JSON object"),
        ("application/json", "", 422, "body: it is missing"),
        ("application/json", '{"name": "A", "nmae": 1}', 422, "body.nmae: there is no such field"),
        ("application/json", "{}", 422, "body.name: it is missing"),
        ("application/json", '{"name": 7}', 422, "body.name: it is to be a text"),
    ],
)
def test_a_wrong_body_is_refused_in_words_of_the_api(
    served: Served, content_type: str | None, body: str, status: int, detail: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = served.client.post("/api/v1/projects", content=body.encode(), headers=headers)
    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text
    assert served.client.get("/api/v1/projects").json()["items"] == []


def test_head_says_what_get_says(served: Served, project_id: str) -> None:
    file = served.upload(project_id, 1)
    at = f"{PREFIX}/projects/{project_id}"
    served.client.post(f"{at}/workflows?name=w", content=b'{"a": 1}')
    for path in ("/", "/docs", f"{PREFIX}/health", f"{PREFIX}/projects", at, f"{at}/files", f"{at}/files/{file['id']}",
                 f"{at}/files/{file['id']}/content", f"{at}/workflows/content?name=w", f"{PREFIX}/openapi.json",
                 f"{at}/files/{'0' * 13}", f"{PREFIX}/nothing"):  # fmt: skip
        got, head = served.client.get(path), served.client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        named = {name: value for name, value in got.headers.items() if name != "date"}
        assert {name: value for name, value in head.headers.items() if name != "date"} == named, path
    refused = served.client.head(f"{at}/intermediate/cleanup")
    assert (refused.status_code, "HEAD" in refused.headers["allow"]) == (405, False)


def test_the_first_pages_need_no_token_and_load_nothing(served: Served) -> None:
    for path in ("/", PREFIX):
        assert served.anybody.get(path).json()["description"] == f"{PREFIX}/openapi.json"
    page = served.anybody.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert f"{PREFIX}/projects/{{project_id}}/media" in page.text
    assert not re.search(r"<script|src=|href=|url\(", page.text)


def test_pages_of_allowed_origins_may_use_the_api(local: Studio) -> None:
    local.storage.settings.cors_origins = ["https://studio.lan"]
    with serving(local.storage) as served:
        asked = {"Origin": "https://studio.lan", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization, idempotency-key"}  # fmt: skip
        allowed = served.anybody.options(f"{PREFIX}/projects", headers=asked)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://studio.lan"
        answer = served.client.post(f"{PREFIX}/projects", json={"name": "x"}, headers={"Origin": "https://studio.lan"})
        assert "location" in answer.headers["access-control-expose-headers"].lower()
        other = served.anybody.options(f"{PREFIX}/projects", headers=asked | {"Origin": "https://other.lan"})
        assert "access-control-allow-origin" not in other.headers


def test_no_origin_is_allowed_by_default(served: Served) -> None:
    answer = served.client.get(f"{PREFIX}/projects", headers={"Origin": "https://studio.lan"})
    assert "access-control-allow-origin" not in answer.headers


def test_behind_a_proxy_every_address_has_its_path(local: Studio) -> None:
    """The proxy takes the path away before it passes a request on, as nginx does with a slash after the host."""
    local.storage.settings.root_path = "/noslop"
    with serving(local.storage) as served:
        answer = served.client.post(f"{PREFIX}/projects", json={"name": "x"})
        assert answer.headers["location"] == f"/noslop{PREFIX}/projects/{answer.json()['id']}"
        assert served.anybody.get("/").json()["documentation"] == "/noslop/docs"
        assert f"/noslop{PREFIX}/projects" in served.anybody.get("/docs").text
        assert served.client.get(f"{PREFIX}/openapi.json").json()["servers"] == [{"url": "/noslop"}]


def test_metrics_have_the_usage_of_each_project(served: Served, project_id: str) -> None:
    served.upload(project_id, 1)
    used = served.client.get(f"{PREFIX}/projects/{project_id}").json()["used_bytes"]
    text = served.client.get(f"{PREFIX}/metrics").text
    assert re.search(rf'^noslop_project_used_bytes\{{project="{project_id}"\}} {float(used):g}', text, re.MULTILINE)
