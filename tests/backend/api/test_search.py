# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search over HTTP: its parameters, and which projects a token sees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from noslop_backend.api.paths import PREFIX
from noslop_backend.core.enums import TokenScope
from noslop_backend.services.tokens import Tokens

from tests.backend.api.serving import Served, with_token
from tests.backend.studio import Studio, png


def _upload(served: Served, project_id: str, number: int, **parameters: Any) -> str:  # noqa: ANN401 - JSON
    params = {"name": f"shot {number}", "parameters": json.dumps(parameters)}
    answer = served.client.post(f"{PREFIX}/projects/{project_id}/media", params=params, content=png(number))
    return str(answer.raise_for_status().json()["id"])


def test_every_parameter_reaches_the_search(served: Served, project_id: str) -> None:
    fields = {"prompt": "a red cat", "seeds": [2**64 - 1], "models": [{"name": "flux1-dev.sft"}]}
    wanted = _upload(served, project_id, 1, fields=fields)
    _upload(served, project_id, 2)
    both = served.client.get(f"{PREFIX}/search").raise_for_status().json()
    assert [file["name"] for file in both["items"]] == ["shot 2", "shot 1"]
    for params in (
        {"q": '"red cat" shot'},
        {"seed": str(2**64 - 1)},
        {"model": "flux1-dev"},
        {"project": project_id, "kind": ["image", "video"], "q": "cat"},
        {"order": "asc", "limit": "1"},
        {"until": both["items"][0]["created_at"]},
        {"order": "asc", "since": both["items"][1]["created_at"], "limit": "1"},
    ):
        answer = served.client.get(f"{PREFIX}/search", params=params).raise_for_status().json()
        assert [file["id"] for file in answer["items"]] == [wanted], params
    for params in ({"tag": "x"}, {"min_rating": "1"}, {"since": both["latest_cursor"]}):
        assert served.client.get(f"{PREFIX}/search", params=params).raise_for_status().json()["items"] == []


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"q": '"open'}, 422),
        ({"q": "a\0b"}, 422),
        ({"q": "x" * 10_000}, 422),
        ({"min_rating": "6"}, 422),
        ({"seed": "1.5"}, 422),
        ({"since": "yesterday"}, 422),
        ({"until": "2026-01-01T00:00:00"}, 422),
        ({"cursor": "none"}, 422),
        ({"order": "best"}, 422),
        ({"project": "none-00000000"}, 404),
        ({"project": "../etc"}, 404),
    ],
)
def test_a_request_that_cannot_be_read_says_what_to_do(served: Served, params: dict[str, str], status: int) -> None:
    answer = served.client.get(f"{PREFIX}/search", params=params)
    assert answer.status_code == status
    assert len(answer.json()["detail"]) > 20


def test_a_token_for_one_project_finds_files_of_that_one(served: Served, studio: Studio, project_id: str) -> None:
    other = served.project("Other")
    mine = _upload(served, project_id, 1, prompt="cat")
    _upload(served, other, 2, prompt="cat")
    token = Tokens(studio.storage.database).create("bound", TokenScope.READ, None, [project_id])
    with with_token(served.url, token.text) as bound:
        answer = bound.get(f"{PREFIX}/search", params={"q": "cat"}).raise_for_status().json()
        assert [file["id"] for file in answer["items"]] == [mine]
        assert bound.get(f"{PREFIX}/search", params={"project": other}).status_code == 404
        assert bound.get(f"{PREFIX}/search", params={"project": "none-00000000"}).status_code == 404
