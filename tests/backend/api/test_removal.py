# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cleanup and trash over HTTP."""

from __future__ import annotations

from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import Served
from tests.backend.studio import Studio


def test_cleanup_says_first_what_would_go(served: Served, project_id: str, studio: Studio) -> None:
    at = f"{PREFIX}/projects/{project_id}/intermediate"
    for kind in ("latent", "mask", "frame"):
        assert served.client.post(at, params={"kind": kind, "name": f"{kind}.bin"}, content=kind.encode()).is_success
    before = studio.tree(project_id)
    dry = served.client.post(f"{at}/cleanup", json={}).json()
    assert (dry["dry_run"], dry["files_count"], len(dry["files"])) == (True, 3, 3)
    assert studio.tree(project_id) == before
    one = served.client.post(f"{at}/cleanup", json={"dry_run": False, "kinds": ["mask"]}).json()
    assert [file["kind"] for file in one["files"]] == ["mask"]
    young = served.client.post(f"{at}/cleanup", json={"dry_run": False, "older_than_days": 1}).json()
    assert young["files_count"] == 0
    kept = served.client.post(f"{at}/cleanup", json={"dry_run": False, "keep_bytes": 5}).json()
    assert (kept["files_count"], kept["freed_bytes"]) == (1, 6)
    assert len(served.client.get(at).json()["items"]) == 1
    wrong: tuple[dict[str, object], ...] = ({"kinds": ["image"]}, {"kinds": []}, {"keep_bytes": -1}, {"all": True})
    for body in wrong:
        assert served.client.post(f"{at}/cleanup", json=body).status_code == 422, body


def test_trash_restore_and_purge(served: Served, project_id: str, studio: Studio) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    kept, gone = (str(served.upload(project_id, number)["id"]) for number in range(2))
    used = served.client.get(at).json()["used_bytes"]
    assert served.client.delete(f"{at}/files", params={"file_id": [kept, gone]}).json()["files_count"] == 2
    assert {file["id"] for file in served.client.get(f"{at}/trash").json()["items"]} == {kept, gone}
    assert served.client.get(f"{at}/files/{kept}").json()["state"] == "trashed"
    assert served.client.get(f"{at}/files/{kept}/content").status_code == 404
    assert served.client.get(at).json()["used_bytes"] == used
    assert served.client.post(f"{at}/files/restore", json={"file_ids": [kept]}).json()["files_count"] == 1
    assert served.client.get(f"{at}/files/{kept}/content").status_code == 200
    old = served.client.delete(f"{at}/trash", params={"older_than_days": 1}).json()
    assert old["files_count"] == 0
    queries: tuple[dict[str, str], ...] = ({}, {"file_id": gone, "everything": "true"}, {"everything": "false"})
    for query in queries:
        assert served.client.delete(f"{at}/trash", params=query).status_code == 422, query
    purged = served.client.delete(f"{at}/trash", params={"everything": True}).json()
    assert purged["files_count"] == 1
    assert served.client.get(at).json()["used_bytes"] == used - purged["freed_bytes"]
    assert served.client.get(f"{at}/files/{gone}").status_code == 404
    studio.check(project_id)


def test_what_is_needed_goes_only_by_force(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    file = str(served.upload(project_id, 1)["id"])
    served.client.post(f"{at}/workflows", params={"name": "w", "inputs": file}, content=b"{}").raise_for_status()
    refused = served.client.delete(f"{at}/files", params={"file_id": [file]})
    assert (refused.status_code, refused.json()["code"]) == (409, "referenced")
    assert served.client.delete(f"{at}/files", params={"file_id": [file], "force": True}).status_code == 200


def test_a_key_trashes_once(served: Served, project_id: str) -> None:
    at, headers = f"{PREFIX}/projects/{project_id}/files/{served.upload(project_id, 1)['id']}", {"Idempotency-Key": "t"}
    first = served.client.delete(at, headers=headers)
    assert (first.status_code, first.json()["files"][0]["state"]) == (200, "trashed")
    assert served.client.delete(at, headers=headers).json() == first.json()
    assert served.client.delete(at).status_code == 404


def test_lists_of_files_are_checked(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    for ids in ([], ["../x"], [""], "x", ["0" * 13] * 1001):
        answers = [
            served.client.delete(f"{at}/files", params={"file_id": ids}),
            served.client.delete(f"{at}/trash", params={"file_id": ids}),
            served.client.post(f"{at}/files/restore", json={"file_ids": ids}),
        ]
        assert [answer.status_code for answer in answers] == [422] * 3, ids
    assert served.client.delete(f"{at}/files", params={"file_id": ["0" * 13] * 1000}).status_code == 404
