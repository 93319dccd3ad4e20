# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is let in, before a byte of a body is read; and what one address, one token and a slow client get."""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from noslop_backend.api.paths import PREFIX
from noslop_backend.api.rates import AddressRate, Places, network_of
from noslop_backend.core.enums import TokenScope
from noslop_backend.core.errors import TooManyRequestsError
from noslop_backend.services.tokens import Tokens

from tests.backend.api.serving import Served, limits_for_tests, serving
from tests.backend.studio import Studio, png


@contextmanager
def connected(served: Served) -> Iterator[socket.socket]:
    """A connection of which a test says each byte. It waits for the server for as long as that takes."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    """All that the server says until it ends the connection."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


def head(method: str, path: str, *headers: str) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {PREFIX}{path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def authorization(client: httpx.Client) -> str:
    """The header that a client sends."""
    return f"Authorization: {client.headers['Authorization']}"


def test_no_byte_of_a_body_is_asked_for_before_the_token(local: Studio) -> None:
    with serving(local.storage) as served:
        for path in ("/projects", "/projects/none-00000000/media?name=x", "/nowhere"):
            for announced in ("Content-Length: 1000000000", "Transfer-Encoding: chunked"):
                # The client waits for "100 Continue", which would be the request for the body.
                with connected(served) as connection:
                    connection.sendall(head("POST", path, announced, "Expect: 100-continue"))
                    said = answer_of(connection)
                assert said.startswith(b"HTTP/1.1 401 "), said
                assert b"\r\nconnection: close\r\n" in said
                # And this one does not, and sends nothing: its answer does not wait for it.
                with connected(served) as connection:
                    connection.sendall(head("POST", path, announced))
                    assert connection.recv(12) == b"HTTP/1.1 401"
        with connected(served) as connection:
            headers = (authorization(served.client), "Content-Type: application/json", "Content-Length: 12")
            connection.sendall(head("POST", "/projects", *headers, "Expect: 100-continue"))
            assert connection.recv(12) == b"HTTP/1.1 100"


def test_who_sends_a_body_without_a_token_reads_the_answer(local: Studio) -> None:
    with serving(local.storage) as served:
        for size in (10, 100_000, 10_000_000):
            answer = served.anybody.post(f"{PREFIX}/projects/none-00000000/media?name=x", content=b"x" * size)
            assert (answer.status_code, answer.headers["connection"]) == (401, "close")


def test_too_many_requests_without_a_token_are_refused(local: Studio) -> None:
    limits = limits_for_tests(refusal_delay_s=0)
    with serving(local.storage, limits) as served:
        assert served.reader.get(f"{PREFIX}/projects").status_code == 200
        limits.anonymous_per_s = 0.001
        for path in ("/health", "/projects", "/openapi.json", "/nowhere"):
            served.anybody.get(f"{PREFIX}{path}")
            answer = served.anybody.get(f"{PREFIX}{path}")
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
            assert int(answer.headers["retry-after"]) >= 1
        assert served.writer.get(f"{PREFIX}/projects").status_code == 429, "nobody has seen this token yet"
        # Who has shown a valid token is not one of them, from the same address.
        assert served.reader.get(f"{PREFIX}/projects").status_code == 200


def test_an_address_gets_so_many_a_second() -> None:
    rate = AddressRate()
    assert [rate.spend("a", 2, now=0.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert rate.spend("b", 2, now=0.0)
    assert [rate.spend("a", 2, now=0.5) for _ in range(2)] == [True, False]
    for number in range(5000):
        rate.spend(str(number), 2, now=1.0)
    assert len(rate._buckets) <= 4096


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fd00::1:2:3:4", "fd00::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(host: str, network: str) -> None:
    assert network_of(host) == network


def test_one_token_gets_some_of_the_places() -> None:
    places = Places("uploads", 3, 2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(places.reserve("a"))
        with pytest.raises(TooManyRequestsError, match="of this token"):
            stack.enter_context(places.reserve("a"))
        stack.enter_context(places.reserve("b"))
        with pytest.raises(TooManyRequestsError, match="3 uploads run already"):
            stack.enter_context(places.reserve("c"))
    with places.reserve("a"), places.reserve("a"), places.reserve(None):
        pass


def test_uploads_of_one_token_leave_places_for_others(local: Studio) -> None:
    with serving(local.storage, limits_for_tests(uploads=3, uploads_per_token=2)) as served, ExitStack() as stack:
        project_id = served.project()
        for _ in range(2):
            connection = stack.enter_context(connected(served))
            path = f"/projects/{project_id}/media?name=x"
            connection.sendall(head("POST", path, authorization(served.writer), "Content-Length: 100") + png()[:20])
        while len(local.open_intents()) < 2:
            pass
        path = f"{PREFIX}/projects/{project_id}/media"
        refused = served.writer.post(path, params={"name": "x"}, content=png(1))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        served.upload(project_id, 1)
    while local.open_intents():
        pass


def test_requests_of_one_token_leave_places_for_others(local: Studio) -> None:
    limits = limits_for_tests(requests_per_token=1)
    with serving(local.storage, limits) as served, connected(served) as connection:
        project_id = served.project()
        # The project is made by another client; this one stays in the middle of its request.
        path = f"/projects/{project_id}/media?name=x"
        connection.sendall(head("POST", path, authorization(served.writer), "Content-Length: 100") + png()[:20])
        while not local.open_intents():
            pass
        answer = served.writer.get(f"{PREFIX}/projects")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert served.client.get(f"{PREFIX}/projects").status_code == 200


def test_large_documents_of_one_token_leave_places_for_others(local: Studio) -> None:
    with serving(local.storage, limits_for_tests(large_documents=2, large_documents_per_token=1)) as served:
        project_id = served.project()
        path, large = f"/projects/{project_id}/workflows?name=x", b'{"a": "' + b"x" * 2_000_000
        with connected(served) as connection:
            request = head("POST", path, authorization(served.writer), "Content-Length: 2000009")
            connection.sendall(request + large)
            while not served.state.large_documents._used:
                pass
            assert served.writer.post(f"{PREFIX}{path}", content=large + b'"}').status_code == 429
            assert served.writer.post(f"{PREFIX}{path}", content=b"{}").status_code == 201
            assert served.client.post(f"{PREFIX}{path}", content=large + b'"}').status_code == 201
            connection.sendall(b'"}')
            # The same content came meanwhile.
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_json_that_would_become_enormous_is_refused(local: Studio) -> None:
    with serving(local.storage) as served:
        path = f"{PREFIX}/projects/{served.project()}"
        small = b"[" + b"[]," * 5_000_000 + b"[]]"
        for body, status in ((small, 422), (b"[" + b"[]," * (20 * 1024 * 1024) + b"[]]", 413)):
            assert served.writer.post(f"{path}/workflows?name=x", content=body).status_code == status
        body = b'{"name": "x", "settings": {"a": [' + b"[]," * 41_000 + b"1]}}"
        answer = served.writer.patch(path, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert "objects and arrays" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:8765", 200),
        ("127.9.9.9", 200),
        ("[::1]:8765", 200),
        ("localhost.evil.example", 421),
        ("evil.example:8765", 421),
        ("10.0.0.7", 421),
        ("", 421),
        ("evil.example/@localhost", 421),
    ],
)
def test_without_tokens_only_loopback_is_asked_for(local: Studio, host: str, status: int) -> None:
    with serving(local.storage, asks_for_tokens=False) as served:
        answer = served.anybody.get(f"{PREFIX}/projects", headers={"Host": host})
        assert answer.status_code == status
        assert (answer.headers["content-type"] == "application/problem+json") == (status == 421)


def test_without_tokens_no_page_of_another_host_is_answered(local: Studio) -> None:
    with serving(local.storage, asks_for_tokens=False) as served:
        for origin, status in (
            *(("http://127.0.0.1:3000", 200), ("http://localhost", 200)),
            *(("https://evil.example", 403), ("null", 403)),
        ):
            answer = served.anybody.get(f"{PREFIX}/projects", headers={"Origin": origin})
            assert answer.status_code == status, origin


def test_with_tokens_any_name_and_any_page_may_ask(local: Studio) -> None:
    with serving(local.storage) as served:
        assert served.reader.get(f"{PREFIX}/projects", headers={"Origin": "https://a.example"}).status_code == 200
        assert served.reader.get(f"{PREFIX}/projects", headers={"Host": "studio.example"}).status_code == 200


def test_nobody_without_a_token_learns_the_version_or_the_operations(local: Studio) -> None:
    with serving(local.storage) as served:
        health = served.anybody.get(f"{PREFIX}/health").json()
        assert set(health) == {"status", "database", "share"}
        assert served.anybody.get(f"{PREFIX}/openapi.json").status_code == 401
        assert served.anybody.get(f"{PREFIX}/nowhere").status_code == 401
        assert {"version", "disk_threads"} < set(served.reader.get(f"{PREFIX}/health").json())
        wrong = Tokens(local.storage.database).create("wrong", TokenScope.READ, None).text[:-1] + "0"
        answer = served.anybody.get(f"{PREFIX}/health", headers={"Authorization": f"Bearer {wrong}"})
        assert set(answer.json()) == {"status", "database", "share"}
        first, second = (served.reader.get(f"{PREFIX}/openapi.json").content for _ in range(2))
        assert first == second == json.dumps(json.loads(first), ensure_ascii=False, separators=(",", ":")).encode()


def test_health_is_remembered_for_a_moment(local: Studio) -> None:
    limits = limits_for_tests(health_s=60)
    with serving(local.storage, limits) as served:
        assert served.anybody.get(f"{PREFIX}/health").json()["status"] == "ok"
        (local.root / ".noslop-share").unlink()
        assert served.anybody.get(f"{PREFIX}/health/ready").status_code == 200
        limits.health_s = 0
        assert served.anybody.get(f"{PREFIX}/health/ready").status_code == 503


def test_an_upload_that_breaks_off_is_one_line_in_the_log(local: Studio) -> None:
    heard: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(heard)
    logs = [logging.getLogger(name) for name in ("noslop_backend", "uvicorn.error")]
    with serving(local.storage) as served:
        project_id = served.project()
        for log in logs:
            log.addHandler(handler)
        try:
            for path in ("/media?name=x", "/workflows?name=x"):
                with connected(served) as connection:
                    request = head("POST", f"/projects/{project_id}{path}", authorization(served.writer))
                    connection.sendall(request.removesuffix(b"\r\n") + b"Content-Length: 99\r\n\r\n" + png()[:20])
                    while path.startswith("/media") and not local.open_intents():
                        pass
                record = heard.get()
                assert "the client went away before its request was complete" in record.getMessage()
                assert record.exc_info is None
                while local.open_intents():
                    pass
            assert served.anybody.get(f"{PREFIX}/health").status_code == 200
        finally:
            for log in logs:
                log.removeHandler(handler)
        assert heard.empty()
