# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that are slow, silent or many: each ends by a deadline, and none takes the place of another."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import limits_for_tests, serving
from tests.backend.api.test_admission import answer_of, authorization, connected, head
from tests.backend.studio import Studio, png

#: Deadlines that a test can wait for. Those that it does not wait for are long.
SHORT_S = 0.1


def test_who_says_nothing_is_ended(local: Studio) -> None:
    with serving(local.storage, limits_for_tests(header_s=SHORT_S)) as served, connected(served) as connection:
        assert answer_of(connection) == b""


@pytest.mark.parametrize("part", [b"G", b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_half_a_head_is_answered_and_ended(local: Studio, part: bytes) -> None:
    with serving(local.storage, limits_for_tests(header_s=SHORT_S)) as served, connected(served) as connection:
        connection.sendall(part)
        assert answer_of(connection).startswith(b"HTTP/1.1 408 ")


def test_the_second_head_of_a_connection_has_a_deadline_too(local: Studio) -> None:
    with serving(local.storage, limits_for_tests(header_s=SHORT_S)) as served:
        for together in (True, False):
            with connected(served) as connection:
                first, second = head("GET", "/health"), b"GET /api"
                connection.sendall(first + second if together else first)
                said = connection.recv(65536)
                assert said.startswith(b"HTTP/1.1 200 ")
                if not together:
                    connection.sendall(second)
                assert b"HTTP/1.1 408 " in said + answer_of(connection)


def test_a_head_that_drips_is_ended_all_the_same(local: Studio) -> None:
    with serving(local.storage, limits_for_tests(header_s=SHORT_S)) as served, connected(served) as connection:
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\n")
        connection.settimeout(SHORT_S / 10)
        said = b""
        while True:
            # Each turn is a header more, until the server has had enough.
            try:
                connection.sendall(b"X: y\r\n")
                piece = connection.recv(4096)
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
            if not piece:
                break
            said += piece
        assert said.startswith(b"HTTP/1.1 408 ") or said == b""


@pytest.mark.parametrize("path", ["", "/workflows?name=x", "/media?name=x", "/intermediate?kind=mask&name=x"])
def test_a_body_that_stops_is_given_up(local: Studio, path: str) -> None:
    limits = limits_for_tests()
    with serving(local.storage, limits) as served:
        at = f"/projects/{served.project()}{path}"
        limits.body_idle_s = SHORT_S
        with connected(served) as connection:
            headers = (authorization(served.client), "Content-Type: application/json", "Content-Length: 1000")
            request = head("POST" if path else "PATCH", at, *headers)
            connection.sendall(request + png()[:20])
            assert answer_of(connection).startswith(b"HTTP/1.1 408 ")
    assert local.open_intents() == []


def test_a_body_that_drips_is_given_up(local: Studio) -> None:
    limits = limits_for_tests()
    with serving(local.storage, limits) as served:
        at = f"/projects/{served.project()}/intermediate?kind=mask&name=x"
        limits.body_window_s, limits.body_bytes_per_s = SHORT_S, 1_000_000
        with connected(served) as connection:
            connection.sendall(head("POST", at, authorization(served.client), "Content-Length: 1000000"))
            connection.settimeout(SHORT_S / 10)
            said = b""
            while not said:
                connection.sendall(b"x")
                try:
                    said = connection.recv(4096)
                except TimeoutError:
                    continue
            connection.settimeout(None)
            answer = said + answer_of(connection)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"bytes came in a second" in answer
    assert local.open_intents() == []


def test_who_does_not_read_an_answer_is_ended(local: Studio) -> None:
    limits = limits_for_tests(header_s=4 * SHORT_S)
    with serving(local.storage, limits) as served:
        project_id = served.project()
        at = f"{PREFIX}/projects/{project_id}"
        body = b"x" * (32 * 1024 * 1024)
        file = served.client.post(f"{at}/intermediate", params={"kind": "mask", "name": "m"}, content=body).json()
        limits.body_window_s = SHORT_S
        before = len(served.app.state.connections)
        with connected(served) as connection:
            path = f"/projects/{project_id}/files/{file['id']}/content"
            connection.sendall(head("GET", path, authorization(served.client)))
            while len(served.app.state.connections) <= before:
                pass
            while len(served.app.state.connections) > before:
                pass
            assert len(answer_of(connection)) < len(body)


def test_silent_connections_keep_nobody_out(local: Studio) -> None:
    limits = limits_for_tests(connections=16, connections_per_address=8)
    with serving(local.storage, limits) as served, ExitStack() as stack:
        # This client's connection has shown a token, so none of theirs takes its place.
        project_id = served.project()
        silent = [stack.enter_context(connected(served)) for _ in range(60)]
        for connection in silent[:40]:
            assert answer_of(connection) == b"", "the oldest are ended first"
        assert len(served.app.state.connections) <= 16
        # Nor do they keep out who is new, from the same address.
        assert served.reader.get(f"{PREFIX}/projects/{project_id}").status_code == 200
        assert served.client.get(f"{PREFIX}/projects/{project_id}").status_code == 200


def test_connections_with_tokens_give_way_to_new_ones_last(local: Studio) -> None:
    limits = limits_for_tests(connections=8, connections_per_address=8)
    with serving(local.storage, limits) as served, ExitStack() as stack:
        said = []
        for _ in range(10):
            connection = stack.enter_context(connected(served))
            connection.sendall(head("GET", "/projects", authorization(served.reader)))
            said.append(connection.recv(12))
        assert said == [b"HTTP/1.1 200"] * 10
        assert len(served.app.state.connections) == 8
