# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check labels of files over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import Served


def test_labels_are_changed_listed_and_searched(served: Served, project_id: str) -> None:
    file = served.upload(project_id, 1)
    at = f"{PREFIX}/projects/{project_id}/files/{file['id']}"
    changed = served.client.patch(at, json={"name": "Storm", "tags": ["a"], "rating": 5}).raise_for_status().json()
    assert changed == file | {"name": "Storm", "tags": ["a"], "rating": 5}
    changed = served.client.patch(at, json={"add_tags": ["b"], "rating": None}).raise_for_status().json()
    assert (changed["tags"], changed["rating"]) == (["a", "b"], None)
    assert served.client.get(at).json() == changed
    listed = served.client.get(f"{PREFIX}/projects/{project_id}/media").json()["items"]
    assert listed == [changed]
    for params in ({"tag": ["a", "b"]}, {"q": "storm"}):
        assert served.client.get(f"{PREFIX}/search", params=params).json()["items"] == [changed]


@pytest.mark.parametrize("body", [{"rating": 6}, {"tags": [""]}, {"tags": None}, {"stars": 1}, {"name": "a\nb"}])
def test_labels_without_meaning_are_refused(served: Served, project_id: str, body: dict[str, Any]) -> None:
    file = served.upload(project_id, 1)
    answer = served.client.patch(f"{PREFIX}/projects/{project_id}/files/{file['id']}", json=body)
    assert answer.status_code == 422
    assert served.client.get(f"{PREFIX}/projects/{project_id}/files/{file['id']}").json() == file
