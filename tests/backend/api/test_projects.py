# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects over HTTP: their life, revisions, keys, pages, quotas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import Served
from tests.backend.studio import Studio, png


def test_the_life_of_a_project(served: Served, studio: Studio) -> None:
    made = served.client.post(f"{PREFIX}/projects", json={"name": "Ein Film über Käse"})
    assert made.status_code == 201
    project = made.json()
    at = made.headers["location"]
    assert at == f"{PREFIX}/projects/{project['id']}"
    assert (made.headers["etag"], project["revision"], project["state"]) == ('"r1"', 1, "present")
    assert (studio.root / project["folder_path"] / "metadata.json").is_file()
    served.upload(project["id"], 1)

    assert served.client.get(at).json()["media_count"] == 1
    assert served.client.delete(f"{PREFIX}/trash/{project['id']}").json()["code"] == "conflict"
    assert served.client.delete(at).json()["state"] == "trashed"
    refused = served.client.post(f"{at}/media", params={"name": "x"}, content=png(2))
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    trashed = served.client.get(f"{PREFIX}/projects?state=trashed").json()["items"]
    assert [one["id"] for one in trashed] == [project["id"]]
    assert served.client.post(f"{at}/restore").json()["state"] == "present"
    served.client.delete(at)
    purged = served.client.delete(f"{PREFIX}/trash/{project['id']}").json()
    assert purged["files_count"] == 1
    assert purged["freed_bytes"] > 0
    assert served.client.get(at).status_code == 404
    assert not (studio.root / project["folder_path"]).exists()


def test_changes_ask_for_the_revision_that_was_read(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    etag = served.client.get(at).headers["etag"]
    changed = served.client.patch(at, json={"name": "Other"}, headers={"If-Match": etag})
    assert (changed.status_code, changed.headers["etag"], changed.json()["name"]) == (200, '"r2"', "Other")
    for stale in (etag, '"r99"', "r2", '"other"', 'W/"r2"', '"r1", "r2"'):
        answer = served.client.patch(at, json={"name": "Third"}, headers={"If-Match": stale})
        assert (answer.status_code, answer.json()["code"]) == (412, "revision_conflict"), stale
    assert served.client.patch(at, json={"name": "Third"}, headers={"If-Match": "*"}).status_code == 200
    assert served.client.patch(at, json={"description": "Without"}).json()["revision"] == 4


def test_a_key_makes_one_project(served: Served) -> None:
    headers = {"Idempotency-Key": "a-key"}
    answers = [served.client.post(f"{PREFIX}/projects", json={"name": "Once"}, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = served.client.post(f"{PREFIX}/projects", json={"name": "Another"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    assert len(served.client.get(f"{PREFIX}/projects").json()["items"]) == 1


@pytest.mark.parametrize("order", [None, "asc", "desc"])
def test_pages_are_walked_to_the_end(served: Served, order: str | None) -> None:
    made = [served.project(f"Project {number}") for number in range(5)]
    found, cursor = [], None
    while True:
        asked = (
            {"limit": "2"}
            | ({} if order is None else {"order": order})
            | ({} if cursor is None else {"cursor": cursor})
        )
        page = served.client.get(f"{PREFIX}/projects", params=asked).json()
        assert len(page["items"]) <= 2
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == (made if order == "asc" else made[::-1])
    for cursor in ("", "x", "W10=", "é"):
        assert served.client.get(f"{PREFIX}/projects", params={"cursor": cursor}).status_code == 422, cursor
    for limit in ("0", "1001", "-1", "x", "1e3"):
        assert served.client.get(f"{PREFIX}/projects", params={"limit": limit}).status_code == 422, limit


def test_a_quota_says_what_is_used_asked_and_free(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    served.upload(project_id, 1)
    used = served.client.get(f"{at}/quota").json()["used_bytes"]
    quota = served.client.put(f"{at}/quota", json={"quota_bytes": used + 10}).json()
    assert quota == {"quota_bytes": used + 10, "used_bytes": used, "reserved_bytes": 0, "free_bytes": 10}
    content = png(2)
    answer = served.client.post(f"{at}/media", params={"name": "x"}, content=content)
    assert (answer.status_code, answer.headers["content-type"]) == (507, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["scope"], problem["used_bytes"]) == ("quota_exceeded", "project", used)
    assert (problem["asked_bytes"], problem["free_bytes"]) == (len(content), 10)
    served.client.put(f"{at}/quota", json={"quota_bytes": None})

    everything = served.client.put(f"{PREFIX}/quota", json={"quota_bytes": used}).json()
    assert everything["free_bytes"] == 0
    answer = served.client.post(f"{at}/workflows", params={"name": "x"}, content=b"{}")
    assert (answer.status_code, answer.json()["scope"]) == (507, "store")
    served.client.put(f"{PREFIX}/quota", json={"quota_bytes": None})


def test_statistics_of_a_project_and_of_everything(served: Served, project_id: str) -> None:
    served.upload(project_id, 1)
    served.client.post(f"{PREFIX}/projects/{project_id}/workflows", params={"name": "w"}, content=b"{}")
    one = served.client.get(f"{PREFIX}/projects/{project_id}/stats").json()
    assert (one["image_count"], one["media_count"], one["workflows_count"]) == (1, 1, 1)
    everything = served.client.get(f"{PREFIX}/stats").json()
    assert (everything["projects_count"], everything["media_count"]) == (1, 1)
    assert everything["used_bytes"] == one["used_bytes"]
    assert everything["disk_free_bytes"] is None
    assert served.client.get(f"{PREFIX}/stats?with_disk=true").json()["disk_free_bytes"] > 0


def test_what_nobody_knows_is_refused(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    bodies: tuple[Any, ...] = (
        {"name": "x", "id": "mine"},
        {"name": ""},
        {"name": "x" * 201},
        {"name": "a\0b"},
        {},
        [],
        "x",
        None,
    )
    for body in bodies:
        answer = served.client.post(f"{PREFIX}/projects", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body
    assert served.client.patch(at, json={"used_bytes": 0}).status_code == 422
    assert served.client.patch(at, json={"settings": {"x": "y" * 1_100_000}}).status_code == 422
    assert served.client.patch(at, json={"settings": {"x": "y" * 3_000_000}}).status_code == 413
    deep = b'{"settings": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    answer = served.client.patch(at, content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    assert Path(served.storage.settings.project_storage_dir / project_id / "metadata.json").stat().st_size < 10_000
