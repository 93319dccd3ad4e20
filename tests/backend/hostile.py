# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real HTTP server on loopback that answers as no ComfyUI would."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from noslop_backend.core.comfyui_hosts import ComfyHost

PROMPT_ID = "0b9c2a4e-6a11-4a63-9d3c-2d3f0f8c7a55"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the test says."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.close_connection = True
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        answer = self.server.answers.get(query.get("filename", url.path))
        try:
            if answer is None:
                self.give(b"", status=404)
            else:
                answer(self)
        except ConnectionError:
            # Whoever asked has heard enough.
            pass

    def give(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Send an answer, with further headers or others than it would have."""
        self.send_response_only(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def stand_still(self) -> None:
        """Say nothing more until the other side goes."""
        self.rfile.read(1)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


Answer = Callable[[Handler], None]


class Server(http.server.ThreadingHTTPServer):
    """What it answers to which path or file name, and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    @property
    def host(self) -> ComfyHost:
        return ComfyHost("beta", "127.0.0.1", self.server_address[1])

    @property
    def hosts(self) -> str:
        """The setting that makes it the host `beta` of a studio."""
        return f"beta=127.0.0.1:{self.server_address[1]}"

    def has(self, outputs: dict[str, Any], workflow: object = None, graph: object = None) -> None:
        """Have one prompt that ended, which made these files."""
        extra = {} if workflow is None else {"extra_pnginfo": {"workflow": workflow}}
        prompt = [1, PROMPT_ID, {"1": {}} if graph is None else graph, extra, []]
        status = {"status_str": "success", "completed": True, "messages": []}
        entry = {PROMPT_ID: {"prompt": prompt, "outputs": outputs, "status": status}}
        self.answers[f"/history/{PROMPT_ID}"] = giving(json.dumps(entry).encode())


def giving(body: bytes, status: int = 200, **headers: str) -> Answer:
    """An answer like this."""
    return lambda handler: handler.give(body, status, **headers)


@contextmanager
def hostile() -> Iterator[Server]:
    """Serve until the end of the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
