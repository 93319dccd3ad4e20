# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the entries that hubs' answers become. The server here answers as the hub and the marketplace do."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from noslop_driver.errors import DriverError, UsageError
from noslop_driver.hubs.metadata import Hubs, find_version, make_entry, make_source

COMMIT, SHA256 = "a" * 40, "b" * 64
FILE = "fp16/painter v1.safetensors"
HUB_FILE = {"repo": "artist/painter", "file": FILE, "commit": COMMIT}


class Server(http.server.ThreadingHTTPServer):
    """Answers by path: a status, headers and a JSON value; and the tokens that it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, dict[str, str], Any]] = {}
        self.tokens: list[tuple[str, str | None]] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_address[1]}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        server = cast(Server, self.server)
        server.tokens.append((self.path, self.headers.get("Authorization")))
        status, headers, value = server.answers.get(self.path, (404, {}, {}))
        body = json.dumps(value).encode()
        self.send_response(status)
        for key, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, text)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        # The hub redirects to its storage, on another host, and says before what the file is.
        headers = {
            "Location": server.url("/storage", "localhost"),
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{SHA256}"',
            "X-Linked-Size": "6938078334",
        }
        for revision in ("main", "v1"):
            server.answers[f"/artist/painter/resolve/{revision}/fp16/painter%20v1.safetensors"] = (302, headers, {})
        server.answers["/api/models/artist/painter"] = (200, {}, {"gated": "auto", "cardData": {"license": "mit"}})
        files = [
            {"name": "style.vae.pt", "primary": False},
            {"name": "style.safetensors", "primary": True, "hashes": {"SHA256": SHA256.upper(), "AutoV2": "x"}},
        ]
        server.answers["/api/v1/model-versions/2514310"] = (200, {}, {"files": files, "model": {"type": "LORA"}})
        server.answers["/files/plain.safetensors"] = (200, {"Content-Length": "77"}, {})
        server.answers["/moved"] = (302, {"Location": server.url("/files/plain.safetensors", "localhost")}, {})
        server.answers["/login"] = (200, {"Content-Type": "text/html; charset=utf-8"}, {})
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def make_hubs(server: Server) -> Hubs:
    return Hubs(server.url(""), server.url(""), {server.url(""): "secret"})


@pytest.mark.parametrize(
    "source",
    [
        f"hub:artist/painter/{FILE}",
        f"hub:artist/painter/{FILE}@v1",
        "/artist/painter/blob/main/fp16/painter%20v1.safetensors",
    ],
)
def test_hub_is_asked_for_commit_checksum_size_licence_and_gate(server: Server, source: str) -> None:
    address = server.url(source) if source.startswith("/") else source
    wanted = {"hub": HUB_FILE, "sha256": SHA256, "size": 6938078334, "licence": "mit", "gated": True}
    assert make_entry(address, make_hubs(server)) == wanted
    assert {token for _, token in server.tokens} == {"Bearer secret"}
    assert "/storage" not in {path for path, _ in server.tokens}


@pytest.mark.parametrize("source", ["civitai:2514310", "urn:air:sdxl:lora:civitai:827184@2514310"])
def test_marketplace_is_asked_for_the_primary_file(server: Server, source: str) -> None:
    wanted = {"folder": "loras", "file": "style.safetensors", "civitai": 2514310, "sha256": SHA256}
    assert make_entry(source, make_hubs(server)) == wanted


def test_address_of_the_hub_itself_means_the_mirror(server: Server) -> None:
    address = "https://huggingface.co/artist/painter/resolve/main/fp16/painter%20v1.safetensors?download=true"
    assert make_entry(address, make_hubs(server))["hub"] == HUB_FILE
    assert make_source(address, make_hubs(server)) == f"hub:artist/painter/{FILE}"
    other = address.replace("main", "v1")
    assert make_source(other, make_hubs(server)) == f"hub:artist/painter/{FILE}@v1"


def test_download_address_of_the_marketplace_is_a_version_of_it(server: Server) -> None:
    for address in ("https://civitai.com/api/download/models/2514310", server.url("/api/download/models/2514310")):
        assert make_entry(address, make_hubs(server))["civitai"] == 2514310


def test_address_of_another_server_is_its_own_source() -> None:
    address = "https://huggingface.co.invalid/artist/painter/resolve/main/x.safetensors"
    assert make_source(address, Hubs()) == address


def test_marketplace_names_the_version_of_a_content_where_it_can_be_fetched_by_it(server: Server) -> None:
    hubs = Hubs(market=server.url(""))
    files = [{"hashes": {"SHA256": "c" * 64}}, {"primary": True, "hashes": {"SHA256": SHA256.upper()}}]
    for sha256 in (SHA256, "c" * 64):
        server.answers[f"/api/v1/model-versions/by-hash/{sha256}"] = (200, {}, {"id": 5, "files": files})
    assert find_version(SHA256, hubs) == 5
    assert find_version("c" * 64, hubs) is None, "the version's number brings another file of it"
    assert find_version("d" * 64, hubs) is None, "the marketplace does not have it"
    server.answers[f"/api/v1/model-versions/by-hash/{'e' * 64}"] = (503, {}, {})
    with pytest.raises(DriverError, match="503"):
        find_version("e" * 64, hubs)


def test_server_of_a_file_is_asked_for_its_size_and_gets_no_token_of_another(server: Server) -> None:
    assert make_entry(server.url("/moved"), make_hubs(server)) == {"url": server.url("/moved"), "size": 77}
    assert dict(server.tokens) == {"/moved": "Bearer secret", "/files/plain.safetensors": None}


def test_model_of_ollama_needs_no_question(server: Server) -> None:
    assert make_entry("ollama:llama3.2:1b", make_hubs(server)) == {"ollama": "llama3.2:1b"}
    assert server.tokens == []


@pytest.mark.parametrize(
    ("path", "message"),
    [("/login", "is a web page"), ("/nowhere", "404"), ("hub:artist/other/x", "404"), ("civitai:1", "404")],
)
def test_what_cannot_be_had_is_explained(server: Server, path: str, message: str) -> None:
    with pytest.raises(DriverError, match=message):
        make_entry(server.url(path) if path.startswith("/") else path, make_hubs(server))


@pytest.mark.parametrize("source", ["painter", "ftp://models.lan/x", "hub:painter", "civitai:latest"])
def test_source_of_no_form_is_a_usage_error(server: Server, source: str) -> None:
    with pytest.raises(UsageError, match="no source of a model"):
        make_entry(source, make_hubs(server))
    assert server.tokens == []
