# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of ComfyUI against servers that are none: no other address is asked, and every answer has an end."""

from __future__ import annotations

import gzip
import itertools
import socket

import pytest
from noslop_backend.comfyui.client import ComfyUI, FileAnswerError
from noslop_backend.core.comfyui_hosts import ComfyHost
from noslop_backend.core.errors import BackendError, ComfyAnswerError, ComfyUnavailableError

from tests.backend.hostile import Answer, Handler, Server, giving, hostile

LIMIT = 100_000
FILE = {"filename": "f", "subfolder": "", "type": "output"}


def asked(server: Server, *, idle_s: float = 3600, limit_s: float = 3600) -> object:
    with ComfyUI(server.host, idle_s=idle_s, limit_s=limit_s) as comfy:
        return comfy.json("/j", LIMIT)


def fetched(server: Server, *, idle_s: float = 3600, limit_s: float = 3600) -> bytes:
    with ComfyUI(server.host, idle_s=idle_s, limit_s=limit_s) as comfy, comfy.file(FILE, LIMIT) as content:
        return b"".join(content.pieces())


def in_chunks(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> Answer:
    def answer(handler: Handler) -> None:
        handler.give(b"", Content_Length="", Transfer_Encoding="chunked")
        for chunk in chunks:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(end)

    return answer


def endless(handler: Handler) -> None:
    handler.give(b"", Content_Length="", Transfer_Encoding="chunked")
    for _ in itertools.count():
        handler.wfile.write(b"1000\r\n" + b"7" * 4096 + b"\r\n")


def standing_still(handler: Handler) -> None:
    handler.give(b"[1, ", Content_Length="100")
    handler.stand_still()


def dripping(handler: Handler) -> None:
    """A byte at a time, each long before anybody loses patience; the gate between them is the other side's answer."""
    handler.give(b"", Content_Length=str(LIMIT))
    for _ in itertools.count():
        handler.wfile.write(b" ")
        handler.connection.settimeout(0.05)
        try:
            if not handler.connection.recv(1):
                return
        except TimeoutError:
            continue


def test_what_is_as_it_should_be_is_taken(server: Server) -> None:
    server.answers = {"/j": giving(b'{"a": [1, NaN]}'), "f": giving(b"x" * LIMIT)}
    assert asked(server) == {"a": [1, None]}
    assert fetched(server) == b"x" * LIMIT
    server.answers = {"/j": in_chunks(b"[1,", b"2]"), "f": in_chunks(b"one", b"two")}
    assert asked(server) == [1, 2]
    assert fetched(server) == b"onetwo"


def test_no_other_address_is_asked_wherever_an_answer_leads(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile() as elsewhere:
        elsewhere.answers = {"/j": giving(b"[]"), "f": giving(b"elsewhere"), "/view": giving(b"elsewhere")}
        there = f"http://127.0.0.1:{elsewhere.server_address[1]}"
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, there)
        for status in (301, 302, 303, 307, 308):
            server.answers = {
                "/j": giving(b"", status, Location=f"{there}/j"),
                "f": giving(b"", status, Location=f"{there}/view?filename=f"),
            }
            with pytest.raises(ComfyAnswerError, match="leads elsewhere and is not followed"):
                asked(server)
            with pytest.raises(FileAnswerError, match="leads elsewhere and is not followed"):
                fetched(server)
        server.answers = {"/j": giving(b"[]", Refresh=f"0; url={there}/j", Link=f"<{there}/j>; rel=preload")}
        assert asked(server) == []
        assert elsewhere.asked == []
    assert len(server.asked) == 11


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        (giving(b"[1, 2"), ComfyAnswerError, "no JSON"),
        (giving(b"\xff\xfe"), ComfyAnswerError, "no JSON"),
        (giving(b"[" * 50_000), ComfyAnswerError, "nested too deeply"),
        (giving(b"[" * 300 + b"]" * 300), ComfyAnswerError, "nested too deeply"),
        (giving(b"9" * 50_000), ComfyAnswerError, "no JSON"),
        (giving(b" " * (LIMIT + 1)), ComfyAnswerError, "larger than the 100000 bytes"),
        (giving(b"", Content_Length="9" * 17), ComfyAnswerError, "larger than the 100000 bytes"),
        (giving(b"", Content_Length="-5"), ComfyAnswerError, "length of '-5'"),
        (endless, ComfyAnswerError, "larger than the 100000 bytes"),
        (giving(gzip.compress(b"[]"), Content_Encoding="gzip"), ComfyAnswerError, "compressed"),
        (giving(b"[]", Content_Length=""), ComfyAnswerError, "without a length"),
        (giving(b"[]", 500), ComfyAnswerError, "with 500"),
        (giving(b"[]", Content_Length="3"), ComfyUnavailableError, "broke off after 2 of 3 bytes"),
        (in_chunks(b"[1,", end=b""), ComfyUnavailableError, "broke off"),
        (in_chunks(b"[1,", end=b"what?\r\n"), ComfyUnavailableError, "cannot be used"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n\r\n"), ComfyUnavailableError, "does not answer"),
        (lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200), ComfyUnavailableError, "got"),
        (lambda _handler: None, ComfyUnavailableError, "does not answer"),
    ],
)
def test_what_cannot_be_used_is_refused(server: Server, answer: Answer, expected: type[BackendError], why: str) -> None:
    server.answers = {"/j": answer}
    with pytest.raises(expected, match=why) as raised:
        asked(server)
    assert "beta (127.0.0.1:" in raised.value.message


@pytest.mark.parametrize(
    ("answer", "why", "again"),
    [
        (giving(b"", 404), "not there any more", False),
        (giving(b"", 403), "refused it with 403", False),
        (giving(b"", 500), "refused it with 500", True),
        (giving(b"x" * (LIMIT + 1)), "larger than", False),
        (endless, "larger than", False),
        (giving(b"xyz", Content_Length="4"), "broke off after 3 of 4 bytes", True),
        (in_chunks(b"xyz", end=b""), "broke off", True),
        (giving(b"xyz", Content_Encoding="br"), "compressed", False),
    ],
)
def test_a_file_that_cannot_be_had_says_why(server: Server, answer: Answer, why: str, again: bool) -> None:
    server.answers = {"f": answer}
    with pytest.raises(FileAnswerError, match=why) as raised:
        fetched(server)
    assert raised.value.again is again


def test_who_says_nothing_is_not_waited_for(server: Server) -> None:
    server.answers = {"/j": standing_still, "f": standing_still}
    with pytest.raises(ComfyUnavailableError, match=r"no byte came for 0\.2 s"):
        asked(server, idle_s=0.2)
    with pytest.raises(FileAnswerError, match=r"no byte came for 0\.2 s"):
        fetched(server, idle_s=0.2)
    server.answers = {"/j": Handler.stand_still}
    with pytest.raises(ComfyUnavailableError, match=r"no byte came for 0\.2 s"):
        asked(server, idle_s=0.2)


def test_who_says_ever_a_little_comes_to_the_end_of_the_time(server: Server) -> None:
    server.answers = {"/j": dripping, "f": dripping}
    with pytest.raises(ComfyUnavailableError, match=r"the 0\.5 s that one run may take were over"):
        asked(server, limit_s=0.5)
    with pytest.raises(FileAnswerError, match=r"the 0\.5 s that one run may take were over"):
        fetched(server, limit_s=0.5)


def test_nobody_there_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said = r"gone \(127\.0\.0\.1:\d+\).*refused.*systemctl status"
    with (
        ComfyUI(ComfyHost("gone", "127.0.0.1", port), idle_s=5, limit_s=3600) as comfy,
        pytest.raises(ComfyUnavailableError, match=said),
    ):
        comfy.json("/queue", LIMIT)


def test_names_are_words_to_ask_with(server: Server) -> None:
    """Whatever stands in them stays in the query."""
    for filename in ("../../etc/passwd", "a b&type=input#x", "\r\nHost: elsewhere", "%2e%2e/ü.png", "/etc/passwd"):
        server.answers = {filename: giving(b"answered")}
        with ComfyUI(server.host, idle_s=3600, limit_s=3600) as comfy:
            query = {"filename": filename, "subfolder": "../..", "type": "output"}
            with comfy.file(query, LIMIT) as content:
                assert b"".join(content.pieces()) == b"answered"
    assert all(path.startswith("/view?filename=") and path.endswith("&type=output") for path in server.asked)
    with (
        ComfyUI(server.host, idle_s=3600, limit_s=3600) as comfy,
        pytest.raises(FileAnswerError, match="no text that can be asked for"),
        comfy.file({"filename": "\ud800", "subfolder": "", "type": "output"}, LIMIT),
    ):
        raise AssertionError
