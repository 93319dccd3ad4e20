# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workflows and prompts over HTTP: versions, and content that comes back as it went in."""

from __future__ import annotations

import pytest
from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import Served


def test_versions_are_never_overwritten(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}/workflows"
    bodies = [f'{{"b": {number},  "a": [1.0, 1e3, "ü"]}}\n'.encode() for number in range(3)]
    saved = [served.client.post(at, params={"name": "My workflow"}, content=body) for body in bodies]
    assert [answer.status_code for answer in saved] == [201, 201, 201]
    assert [answer.json()["version"] for answer in saved] == [1, 2, 3]
    document = saved[0].json()["document_id"]
    for number, body in enumerate(bodies, 1):
        loaded = served.client.get(f"{at}/{document}/versions/{number}/content")
        assert (loaded.content, loaded.headers["x-noslop-version"]) == (body, str(number))
        assert loaded.headers["content-type"] == "application/json"
        assert loaded.headers["x-content-type-options"] == "nosniff"
    assert served.client.get(f"{at}/content", params={"name": "My workflow"}).content == bodies[-1]
    versions = served.client.get(f"{at}/{document}/versions").json()["items"]
    assert [one["version"] for one in versions] == [3, 2, 1]
    pages = [served.client.get(f"{at}/{document}/versions", params={"limit": 2, "order": "asc"}).json()]
    pages.append(
        served.client.get(
            f"{at}/{document}/versions", params={"limit": 2, "order": "asc", "cursor": pages[0]["next_cursor"]}
        ).json()
    )
    assert [[one["version"] for one in page["items"]] for page in pages] == [[1, 2], [3]]
    assert served.client.get(saved[1].headers["location"]).json() == saved[1].json()
    listed = served.client.get(at).json()["items"]
    assert [(one["id"], one["versions_count"]) for one in listed] == [(document, 3)]
    # The same content again is the version that exists.
    again = served.client.post(at, params={"name": "My workflow"}, content=bodies[-1])
    assert (again.status_code, again.json(), again.headers["location"]) == (
        *(200, saved[-1].json(), saved[-1].headers["location"]),
    )
    for path in (f"{document}/versions/9", f"{document}/versions/9/content", f"{'0' * 13}/versions"):
        assert served.client.get(f"{at}/{path}").status_code == 404, path


def test_a_repeated_key_answers_as_the_first_time(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}/workflows?name=w"
    answers = [
        served.client.post(at, json={"n": 1}, headers={"Idempotency-Key": key}).status_code
        for key in ("one", "two", "one", "two")
    ]
    assert answers == [201, 200, 201, 200]


def test_a_workflow_is_renamed(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}/workflows"
    saved, other = (served.client.post(at, params={"name": name}, json={}).json() for name in ("a", "b"))
    url = f"{at}/{saved['document_id']}"
    renamed = served.client.patch(url, json={"name": " New  name "})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "New name")
    assert served.client.get(url).json() == renamed.json()
    assert (
        served.client.get(f"{at}/content", params={"name": "new name"}).headers["x-noslop-document"]
        == saved["document_id"]
    )
    taken = served.client.patch(f"{at}/{other['document_id']}", json={"name": "NEW NAME"})
    assert (taken.status_code, taken.json()["document_id"]) == (409, saved["document_id"])
    assert served.client.get(f"{PREFIX}/projects/{project_id}/prompts/{saved['document_id']}").status_code == 404


def test_prompts_are_text(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}/prompts"
    text = "a cat, 猫, \U0001f408\r\n\tsitting"
    saved = served.client.post(at, params={"name": "cat"}, content=text.encode())
    assert saved.status_code == 201
    loaded = served.client.get(f"{at}/content", params={"name": "cat"})
    assert loaded.content.decode() == text
    assert loaded.headers["content-type"].startswith("text/plain")
    assert served.client.get(f"{at}/{saved.json()['document_id']}/content").content.decode() == text
    assert served.client.post(at, params={"name": "cat"}, content=b"\xff\xfe").status_code == 422
    # A workflow of the same name is another document.
    workflows = f"{PREFIX}/projects/{project_id}/workflows"
    assert served.client.get(f"{workflows}/content", params={"name": "cat"}).status_code == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b"null", b"[" * 100_000])
def test_what_is_no_workflow_is_refused(served: Served, project_id: str, body: bytes) -> None:
    at = f"{PREFIX}/projects/{project_id}/workflows"
    answer = served.client.post(at, params={"name": "x"}, content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert served.client.get(at).json()["items"] == []


def test_a_workflow_keeps_what_it_needs(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    latent = served.client.post(f"{at}/intermediate", params={"kind": "latent", "name": "l"}, content=b"x").json()
    parameters = {"name": "w", "inputs": latent["id"], "parameters": '{"seed": 7, "ü": [null]}'}
    saved = served.client.post(f"{at}/workflows", params=parameters, content=b"{}")
    assert saved.json()["parameters"] == {"seed": 7, "ü": [None]}
    report = served.client.post(f"{at}/intermediate/cleanup", json={"dry_run": False}).json()
    assert (report["files_count"], report["kept_referenced_count"]) == (0, 1)
    for wrong in ("[]", "{", "1", '{"a": NaN}', ""):
        answer = served.client.post(f"{at}/workflows", params={"name": "v", "parameters": wrong}, content=b"{}")
        assert answer.status_code == 422, wrong
    answer = served.client.post(f"{at}/workflows", params={"name": "v", "inputs": "../../etc"}, content=b"{}")
    assert answer.status_code == 422
    missing = served.client.post(f"{at}/workflows", params={"name": "v", "inputs": "0" * 13}, content=b"{}")
    assert missing.status_code in {404, 422}


def test_a_document_has_a_limit(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}/workflows"
    served.storage.settings.max_document_bytes = 1000
    body = b'{"a": "' + b"x" * 1000 + b'"}'
    for content in (body, iter([body[:500], body[500:]])):
        answer = served.client.post(at, params={"name": "x"}, content=content)
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
        assert "1000 bytes" in answer.json()["detail"]


def test_other_types_are_refused(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    for path, kind in (("workflows", "image/png"), ("workflows", "text/plain"), ("prompts", "application/pdf")):
        answer = served.client.post(f"{at}/{path}?name=x", content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415
    headers = {"Content-Type": "Application/JSON; x=y"}
    answer = served.client.post(f"{at}/workflows?name=x", content=b"{}", headers=headers)
    assert answer.status_code == 201
