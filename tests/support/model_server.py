# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve files on loopback, count what is sent, and misbehave as servers of models do.

A test may have it stand in for the hub or the marketplace.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

BLOCK_BYTES = 16 * 1024
COMMIT = "a" * 40
"""The commit of every repository of the hub that it stands in for."""


@dataclass
class Answers:
    """A file, and how it is answered.

    `statuses` are answered first, one a request, each with the headers of `status_headers`. `cuts` are numbers of bytes
    after which an answer ends without notice, one an answer. `contents` follow on each other, one an answer, the last
    one for ever. `announced` is the Content-Length where it is not the true one. `gate` is waited for in the middle of
    an answer. `headers` are sent with the file.
    """

    contents: deque[bytes]
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    etag: bool = True
    token: str = ""
    redirect: str = ""
    encoding: str = ""
    statuses: deque[int] = field(default_factory=deque)
    status_headers: dict[str, str] = field(default_factory=dict)
    cuts: deque[int] = field(default_factory=deque)
    announced: int | None = None
    chunked: bool = False
    wrong_range: bool = False
    gate: threading.Event | None = None


@dataclass
class ModelServer:
    """A running server. `sent` counts the bytes of bodies by path; `requests` are the paths with their headers."""

    port: int
    address: str = "127.0.0.1"
    files: dict[str, Answers] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str, host: str = "") -> str:
        """Return the address of a path, under another name of the server's address where one is given."""
        return f"http://{host or self.address}:{self.port}/{path}"

    def add(
        self,
        path: str,
        *contents: bytes,
        cuts: Iterable[int] = (),
        statuses: Iterable[int] = (),
        **options: Any,  # noqa: ANN401 - those of Answers
    ) -> Answers:
        """Serve a file."""
        answers = Answers(deque(contents), cuts=deque(cuts), statuses=deque(statuses), **options)
        self.files[path] = answers
        return answers

    def add_json(self, path: str, value: object) -> None:
        """Serve a JSON document. The path has the query in it."""
        self.add(path, json.dumps(value).encode())

    def add_to_hub(self, repo: str, file: str, content: bytes, **about: object) -> str:
        """Serve a file as the hub does, and what it says of it; return the file's address under the hub's own name.

        Args:
            repo: owner and name of the repository.
            file: the path in it.
            content: the file.
            about: more of the answer about the repository, such as `gated` and `cardData`.
        """
        digest = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        for revision in ("main", COMMIT):
            self.add(f"{repo}/resolve/{revision}/{urllib.parse.quote(file)}", content, headers=headers)
        large = {"rfilename": file, "size": len(content), "lfs": {"sha256": digest}}
        self.add_json(f"api/models/{repo}", {"id": repo, **about})
        self.add_json(f"api/models/{repo}?blobs=true", {"id": repo, "siblings": [large], **about})
        return f"https://huggingface.co/{repo}/resolve/main/{file}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def served(self) -> ModelServer:
        return cast(_Server, self.server).served

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        with self.served.lock:
            self.served.requests.append((path, {key.lower(): value for key, value in self.headers.items()}))
            answers = self.served.files.get(path)
            status = 404 if answers is None else answers.statuses.popleft() if answers.statuses else 200
            if answers and answers.token and self.headers.get("Authorization") != f"Bearer {answers.token}":
                status = 401
            if status != 200 or answers is None:
                self._send_status(status, answers.status_headers if answers else {})
                return
            if answers.redirect:
                self._send_status(302, {"Location": answers.redirect})
                return
            content = answers.contents.popleft() if len(answers.contents) > 1 else answers.contents[0]
            cut = answers.cuts.popleft() if answers.cuts else None
        self._send_file(path, answers, content, cut)

    def _send_status(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_file(self, path: str, answers: Answers, content: bytes, cut: int | None) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(match[1]) if match and answers.ranges and self.headers.get("If-Range", etag) == etag else 0
        if first and first >= len(content):
            self._send_status(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        body = content[first:]
        self.send_response(206 if first else 200)
        if first:
            shown = first + 1 if answers.wrong_range else first
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        for key, value in answers.headers.items():
            self.send_header(key, value)
        if answers.etag:
            self.send_header("ETag", etag)
        if answers.encoding:
            self.send_header("Content-Encoding", answers.encoding)
        if answers.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) if answers.announced is None else answers.announced))
        self.end_headers()
        if self.command == "HEAD":
            return
        left = len(body) if cut is None else min(cut, len(body))
        for start in range(0, left, BLOCK_BYTES):
            if answers.gate and start >= left // 2:
                answers.gate.wait()
            block = body[start : min(start + BLOCK_BYTES, left)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if answers.chunked else block)
            with self.served.lock:
                self.served.sent[path] = self.served.sent.get(path, 0) + len(block)
        if answers.chunked and cut is None:
            self.wfile.write(b"0\r\n\r\n")
        if cut is not None or answers.announced is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), _Handler)
        self.served = ModelServer(self.server_address[1], address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: tests end clients in the middle of an answer."""


@contextmanager
def serving_models(address: str = "127.0.0.1") -> Iterator[ModelServer]:
    """Run a server on a free port of an address of this host."""
    with _Server(address) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.served
        finally:
            server.shutdown()
            thread.join()


def make_safetensors(size: int, seed: str = "") -> bytes:
    """Return a valid safetensors file of about this many bytes of content, which depends on the seed."""
    header = b'{"weight":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    return len(header).to_bytes(8, "little") + header + hashlib.shake_128(seed.encode()).digest(size)
