# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for Ollama, ComfyUI or the backend on loopback: answer the paths that `status` and browsers ask for."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

QUEUE = {"queue_running": [[0, "id", {"1": {}}]], "queue_pending": [[1, "id", {}], [2, "id", {}]]}
LOADED = {"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "size": 6_000_000_000, "size_vram": 3_000_000_000}]}


class StandIn(http.server.ThreadingHTTPServer):
    """A server that answers each path with a JSON value, and any other with 404. It keeps the paths of requests."""

    daemon_threads = True

    def __init__(self, answers: Mapping[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.requests: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        body = json.dumps(self.server.answers.get(self.path)).encode()
        self.send_response(200 if self.path in self.server.answers else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def standing_in(answers: Mapping[str, Any]) -> Iterator[StandIn]:
    """Run a stand-in on a free port of loopback."""
    with StandIn(answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
