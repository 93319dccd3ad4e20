# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the webhook with real servers, those that are slow, that fail, redirect or talk nonsense among them."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Entry
from ansible_collections.noslop.studio.plugins.module_utils.monitor import webhook

from tests.support.webhook_receiver import Receiver, serving

BAD = Entry("storage.mounted", "projects", False, 1.7e9, 2, False, "<nothing> & @everyone", "nfs4", "mount it")
GOOD = Entry("host.files", "", True, 1.7e9, 0, True, "as written", "", "")


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection by a function. Return the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, __ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/SECRET"
        thread.join()


@pytest.mark.parametrize("status", [200, 204])
def test_message_is_delivered(status: int) -> None:
    with serving(Receiver(status)) as server:
        assert webhook.send(server.url, webhook.compose("json", "here", "studio", [BAD, GOOD], 3)) == ""
    (body,) = server.bodies
    assert (body["host"], body["studio"], body["bad"]) == ("here", "studio", 3)
    assert [(one["check"], one["share"], one["ok"]) for one in body["turned"]] == [
        ("storage.mounted", "projects", False),
        ("host.files", "", True),
    ]
    assert body["turned"][0]["since"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_refusal_is_reported_without_the_secret(status: int) -> None:
    with serving(Receiver(status)) as server:
        assert webhook.send(server.url, b"{}") == f"127.0.0.1 answered {status}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    with serving(Receiver(200)) as other, serving(Receiver(status, {"Location": other.url})) as server:
        error = webhook.send(server.url, b"{}")
    assert error.startswith(f"127.0.0.1 redirects to another address ({status}), which is not followed")
    assert other.bodies == []


def test_refused_connection_is_reported_without_the_secret() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/SECRET"
    assert webhook.send(url, b"{}") == "127.0.0.1 was not reached: Connection refused"


def test_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    with answering(_read_until_closed) as url:
        assert webhook.send(url, b"{}") == "127.0.0.1 was not reached: timed out"


def test_answer_that_is_no_http_is_reported_without_it() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"SSH-2.0-SECRET\r\n")

    with answering(answer) as url:
        assert webhook.send(url, b"{}") == "127.0.0.1 answered something that is no HTTP (BadStatusLine)"


def test_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with serving(Receiver(200)) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        error = webhook.send(server.url.replace("http:", "https:"), b"{}")
    assert "certificate" in error.lower()
    assert "SECRET" not in error
    assert server.bodies == []


def test_slack_gets_text_whose_signs_mean_nothing() -> None:
    body = json.loads(webhook.compose("slack", "here", "studio", [BAD], 1))
    assert list(body) == ["text"]
    assert body["text"].splitlines()[1:] == [
        "BAD: storage.mounted projects, since 2023-11-14T22:13:20Z: &lt;nothing&gt; &amp; @everyone",
        "    mount it",
    ]


def test_discord_gets_a_content_that_calls_no_one_and_is_short_enough() -> None:
    body = json.loads(webhook.compose("discord", "here", "studio", [BAD] * 100, 100))
    assert body["allowed_mentions"] == {"parse": []}
    assert len(body["content"]) <= 2000
    assert body["content"].endswith("…")


def test_message_of_the_last_failure_says_that_all_is_good() -> None:
    text = json.loads(webhook.compose("slack", "here", "studio", [GOOD], 0))["text"]
    assert text.splitlines() == ["here is good again.", "good again: host.files"]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/services/T0/B0/x",
        "https://[2001:db8::1]:8443/hook?x=1",
        "http://127.0.0.1:9093/api",
        "http://192.168.1.4/hook",
        "http://[fd00::1]/hook",
    ],
)
def test_url_is_accepted(url: str) -> None:
    assert webhook.find_url_problem(url) == ""


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "it does not begin with https://"),
        ("hooks.example.com/SECRET", "it does not begin with https://"),
        ("file:///etc/SECRET", "it does not begin with https://"),
        ("https:///SECRET", "it does not begin with https://"),
        ("http://hooks.example.com/SECRET", "only an IP address of your own network"),
        ("http://203.0.114.7/SECRET", "only an IP address of your own network"),
        ("https://user:SECRET@example.com/", "it has a user"),
        ("https://example.com:SECRET/", "its port is no number"),
        ("https://[SECRET/", "its port is no number, or its address is none"),
        ("https://example.com/SEC RET", "a space"),
        ("https://example.com/\r\nHost: SECRET", "a space"),
        ("https://exämple.com/SECRET", "a character that no URL has"),
    ],
)
def test_url_is_refused_without_the_secret(url: str, problem: str) -> None:
    refusal = webhook.find_url_problem(url)
    assert problem in refusal
    assert "SECRET" not in refusal


def _read_until_closed(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass
