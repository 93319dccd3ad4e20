# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health and metrics, and errors that no route makes."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import queue
import re
import socket

import httpx
import pytest
from noslop_backend.api.paths import PREFIX
from noslop_backend.repositories import RETENTION, JobRepository

from tests.backend.api.serving import Served
from tests.backend.studio import Studio, write_marker


def test_health_needs_no_token_and_tells_no_secret(served: Served, studio: Studio) -> None:
    health = served.anybody.get(f"{PREFIX}/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    (studio.root / ".noslop-share").unlink()
    hurt = served.anybody.get(f"{PREFIX}/health")
    assert (hurt.status_code, hurt.json()["status"], hurt.json()["share"]["status"]) == (200, "degraded", "degraded")
    assert str(studio.root) not in hurt.text
    assert "see whether the storage server is up" in hurt.json()["share"]["detail"].lower()
    assert served.anybody.get(f"{PREFIX}/health/ready").status_code == 503
    write_marker(studio.root, share_id=studio.share_id)
    assert served.anybody.get(f"{PREFIX}/health/ready").status_code == 200


def test_what_health_saw_is_logged_when_it_changes(served: Served, studio: Studio) -> None:
    heard: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    log, handler = logging.getLogger("noslop_backend.api.routes.health"), logging.handlers.QueueHandler(heard)
    log.addHandler(handler)
    try:
        (studio.root / ".noslop-share").unlink()
        for _ in range(3):
            served.anybody.get(f"{PREFIX}/health")
        write_marker(studio.root, share_id=studio.share_id)
        for _ in range(3):
            served.anybody.get(f"{PREFIX}/health/ready")
    finally:
        log.removeHandler(handler)
    messages = [heard.get_nowait().getMessage() for _ in range(heard.qsize())]
    assert len(messages) == 2, messages
    assert f"the share: {studio.root} has no marker" in messages[0]
    assert messages[1] == "health: the share works again"


def test_a_question_is_counted_and_keeps_nothing_from_working(served: Served, studio: Studio) -> None:
    assert served.reader.get(f"{PREFIX}/health").json()["questions_count"] == 0
    with studio.storage.database.write() as session:
        JobRepository(session).ask(RETENTION, ["What is to be done?"])
    assert "questions_count" not in served.anybody.get(f"{PREFIX}/health").json()
    ready = served.reader.get(f"{PREFIX}/health/ready")
    assert (ready.status_code, ready.json()["questions_count"]) == (200, 1)
    assert "What is to be done?" not in ready.text
    assert served.reader.get(f"{PREFIX}/stats").json()["questions"] == ["What is to be done?"]
    assert "\nnoslop_questions 1.0\n" in served.reader.get(f"{PREFIX}/metrics").text


def test_another_share_refuses_writes_and_serves_readers(served: Served, project_id: str, studio: Studio) -> None:
    write_marker(studio.root)
    refused = served.client.post(f"{PREFIX}/projects/{project_id}/workflows?name=x", content=b"{}")
    assert (refused.status_code, refused.json()["code"]) == (503, "share_unavailable")
    assert "another share" in refused.json()["detail"]
    assert served.client.get(f"{PREFIX}/projects/{project_id}").status_code == 200
    write_marker(studio.root, share_id=studio.share_id)


def test_metrics(served: Served, project_id: str) -> None:
    served.upload(project_id, 1)
    served.client.get(f"{PREFIX}/nothing/here")
    text = served.reader.get(f"{PREFIX}/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=")
    figures = dict(re.findall(r"^(\S+) (\S+)$", text.text, re.MULTILINE))
    assert figures["noslop_projects"] == "1.0"
    assert figures["noslop_media_files"] == "1.0"
    assert float(figures["noslop_used_bytes"]) > 0
    assert figures["noslop_database_up"] == "1.0"
    assert figures['noslop_http_requests_total{operation="uploadMedia",status="201"}'] == "1.0"
    assert figures['noslop_http_requests_total{operation="none",status="404"}'] == "1.0"
    assert figures['noslop_http_request_seconds_count{operation="uploadMedia"}'] == "1.0"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/doc", 404, "not_found"),
        ("GET", f"{PREFIX}/projects/", 404, "not_found"),
        ("GET", f"{PREFIX}/%ff%00", 404, "not_found"),
        ("PUT", f"{PREFIX}/projects", 405, "method_not_allowed"),
        ("BREW", f"{PREFIX}/health", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_is_a_problem_too(served: Served, method: str, path: str, status: int, code: str) -> None:
    answer = served.client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["type"], problem["code"]) == (f"urn:noslop:problem:{code}", code)
    if status == 405:
        assert answer.headers["allow"] == ("GET, HEAD, POST" if path.endswith("projects") else "GET, HEAD")


def test_json_that_is_none_is_a_problem(served: Served) -> None:
    infinite = b'{"settings": {"a": 1e999}, "name": "x"}'
    for body in (b"{", b"\xff", b"", b'{"name": "\\ud800"}', b'{"name": "a\\u0000"}', infinite):
        answer = served.client.post(f"{PREFIX}/projects", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}, (body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


def test_bodies_that_are_too_long_are_not_read(served: Served) -> None:
    for content in (b"x" * 3_000_000, iter([b"x" * 1_000_000] * 3)):
        answer = served.client.post(f"{PREFIX}/projects", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_headers_that_are_too_long_are_refused(served: Served) -> None:
    # The server answers and closes while the client still sends: whether that sees the answer is up to the network.
    with contextlib.suppress(httpx.TransportError):
        assert served.client.get(f"{PREFIX}/projects", headers={"X-Long": "x" * 200_000}).status_code == 400
    assert served.anybody.get(f"{PREFIX}/health").status_code == 200


def test_nonsense_on_the_wire_leaves_the_server_well(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    tls = b"\x16\x03\x01\x02\0\x01"
    for said in (b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", tls):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert served.anybody.get(f"{PREFIX}/health").status_code == 200


def test_no_page_is_made_for_browsers(served: Served) -> None:
    """Nothing here lets another origin read an answer."""
    answer = httpx.options(
        f"{served.url}{PREFIX}/projects",
        headers={
            "Origin": "https://elsewhere",
            "Access-Control-Request-Method": "GET",
            "Authorization": served.reader.headers["Authorization"],
        },
        trust_env=False,
        timeout=httpx.Timeout(None),
    )
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
