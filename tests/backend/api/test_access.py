# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: every operation asks for a token, and for the scope that it needs."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from noslop_backend.api.paths import PREFIX
from noslop_backend.core.database import clock
from noslop_backend.core.enums import TokenScope
from noslop_backend.models import TokenModel
from noslop_backend.services.tokens import Tokens

from tests.backend.api.serving import Served, serving
from tests.backend.studio import Studio

#: Operations that need no token, and those that need more than to write. All others that change something need write.
OPEN = {"getHealth", "getReadiness"}
ADMIN = {"purgeProject", "purgeFiles", "setProjectQuota", "setQuota"}


def _operations(served: Served) -> Iterator[tuple[str, str, str]]:
    """Method, path and name of every operation, with ids that could exist."""
    ids = {"project_id": "none-00000000", "ticket_id": "0" * 32}
    for path, operations in served.client.get(f"{PREFIX}/openapi.json").json()["paths"].items():
        real = re.sub(r"{(\w+)}", lambda found: ids.get(found[1], "0" * 13), path)
        for method, operation in operations.items():
            yield method.upper(), real, operation["operationId"]


def _needs(method: str, operation_id: str) -> TokenScope:
    if operation_id in ADMIN:
        return TokenScope.ADMIN
    return TokenScope.READ if method in {"GET", "HEAD"} else TokenScope.WRITE


def test_every_operation_asks_for_a_token(served: Served) -> None:
    wrong = httpx.Client(base_url=served.url, headers={"Authorization": "Bearer noslop_0_0"}, trust_env=False)
    with wrong:
        for method, path, operation_id in _operations(served):
            for client in (served.anybody, wrong):
                answer = client.request(method, path)
                if operation_id in OPEN:
                    assert answer.status_code == 200, operation_id
                    continue
                assert answer.status_code == 401, operation_id
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.headers["content-type"] == "application/problem+json"


def test_every_operation_asks_for_its_scope(served: Served) -> None:
    clients = {TokenScope.READ: served.reader, TokenScope.WRITE: served.writer, TokenScope.ADMIN: served.client}
    for method, path, operation_id in _operations(served):
        if operation_id in OPEN:
            continue
        needed = list(TokenScope).index(_needs(method, operation_id))
        for place, scope in enumerate(TokenScope):
            # A stream of events would have no end.
            parameters = {"follow": False} if operation_id == "followEvents" else None
            answer = clients[scope].request(method, path, params=parameters)
            assert (answer.status_code == 403) == (place < needed), (operation_id, scope, answer.text)
            if answer.status_code == 403 and method != "HEAD":
                assert answer.json()["needed"] == _needs(method, operation_id)


def test_who_writes_sets_no_quotas(served: Served) -> None:
    project = served.project()
    for body in ({"quota_bytes": 10}, {"quota_bytes": None}):
        assert served.writer.patch(f"{PREFIX}/projects/{project}", json=body).status_code == 403
    assert served.writer.post(f"{PREFIX}/projects", json={"name": "x", "quota_bytes": 10}).status_code == 403
    assert served.writer.patch(f"{PREFIX}/projects/{project}", json={"name": "y"}).status_code == 200
    assert served.client.patch(f"{PREFIX}/projects/{project}", json={"quota_bytes": 10}).status_code == 200


@pytest.mark.parametrize("header", ["Basic YTpi", "noslop_x", "Bearer", "bearer  x y"])
def test_only_bearer_is_understood(served: Served, header: str) -> None:
    answer = served.anybody.get(f"{PREFIX}/projects", headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "API_KEY", "name", "anything"])
def test_a_token_in_the_url_is_refused_with_or_without_one_in_the_header(served: Served, name: str) -> None:
    token = served.client.headers["authorization"].split()[1]
    for client in (served.anybody, served.client):
        answer = client.get(f"{PREFIX}/projects", params={name: token})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert "Authorization: Bearer" in answer.json()["detail"]
        assert token not in answer.text


def test_a_token_elsewhere_than_in_the_header_is_no_token(served: Served) -> None:
    token = served.client.headers["authorization"].split()[1]
    for name in ("token", "access_token", "api_key"):
        answer = httpx.get(
            f"{served.url}{PREFIX}/projects", cookies={name: token}, trust_env=False, timeout=httpx.Timeout(None)
        )
        assert answer.status_code == 401
    assert served.anybody.post(f"{PREFIX}/projects", data={"access_token": token}).status_code == 401


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that the service and its server log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in ("noslop_backend", "uvicorn", "uvicorn.error", "uvicorn.access")]
    for logger in loggers:
        logger.addHandler(handler)
    yield stream
    for logger in loggers:
        logger.removeHandler(handler)


def test_no_token_gets_into_the_log(served: Served, logged: io.StringIO) -> None:
    """Whatever is sent as one, and wherever."""
    tokens = Tokens(served.storage.database)
    made = [tokens.create(name, TokenScope.READ, None) for name in ("valid", "revoked")]
    tokens.revoke("revoked")
    texts = [*(one.text for one in made), f"noslop_{made[0].row.id}_{'0' * 52}", "noslop_half"]
    for text in texts:
        for headers in ({"Authorization": f"Bearer {text}"}, {"Authorization": text}, {"Cookie": f"token={text}"}):
            served.anybody.get(f"{PREFIX}/projects", headers=headers)
            served.anybody.get(f"{PREFIX}/projects", headers=headers, params={"token": text})
            served.anybody.get(f"{PREFIX}/projects/{text}", headers=headers)
            served.anybody.put(f"{PREFIX}/quota", headers=headers, json={"quota_bytes": text})
    served.state.refusals.close()
    logging.getLogger("noslop_backend.api").info("the last line")
    assert "the last line" in logged.getvalue()
    assert not [text for text in texts if text in logged.getvalue()]


def test_revoked_and_expired_tokens_end_at_once(served: Served) -> None:
    tokens = Tokens(served.storage.database)
    for name, end in (("revoked", tokens.revoke), ("expired", lambda name: _expire(tokens, name))):
        text = tokens.create(name, TokenScope.READ, timedelta(days=1)).text
        headers = {"Authorization": f"Bearer {text}"}
        assert served.anybody.get(f"{PREFIX}/projects", headers=headers).status_code == 200
        end(name)
        answer = served.anybody.get(f"{PREFIX}/projects", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert name in answer.json()["detail"]


def _expire(tokens: Tokens, name: str) -> None:
    with tokens.database.write() as session:
        row = next(row for row in tokens.all() if row.name == name)
        found = session.get(TokenModel, row.id)
        assert found is not None
        found.expires_at = clock(session)


def test_use_is_written_down(served: Served) -> None:
    tokens = Tokens(served.storage.database)
    made = tokens.create("watched", TokenScope.READ, None)
    headers = {"Authorization": f"Bearer {made.text}"}
    # However long a busy host takes to answer.
    with httpx.Client(base_url=served.url, headers=headers, timeout=httpx.Timeout(None), trust_env=False) as client:
        # After the answer, by a thread of its own: asking again is how to wait for it.
        while next(row for row in tokens.all() if row.id == made.row.id).last_used_at is None:
            assert client.get(f"{PREFIX}/stats").status_code == 200


def test_without_tokens_everybody_may(studio: Studio) -> None:
    with serving(studio.storage, asks_for_tokens=False) as served:
        assert served.anybody.post(f"{PREFIX}/projects", json={"name": "x"}).status_code == 201
        assert served.anybody.put(f"{PREFIX}/quota", json={"quota_bytes": None}).status_code == 200
