# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve models as a registry of Ollama does: manifests, and blobs that lie on another host name.

A stand-in for the vendor's registry, with generated models: any name has one. Ollama follows an answer 307 to another
host name for a blob, and fails on a plain 200. In the middle of a model's content it waits for the test.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

MODEL_BYTES = 1 << 20
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
MODEL = "application/vnd.ollama.image.model"


def make_content(name: str) -> bytes:
    """Return the content of a model, which depends on its name alone."""
    return hashlib.shake_128(name.encode()).digest(MODEL_BYTES)


@dataclass
class Registry:
    """A running registry. `waiting` is set while a pull waits in the middle; `resume` ends the wait."""

    address: str
    port: int
    blob_host: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    waiting: threading.Event = field(default_factory=threading.Event)
    resume: threading.Event = field(default_factory=threading.Event)

    def name(self, model: str) -> str:
        """Return a model's name as `ollama pull` takes it."""
        return f"http://{self.address}:{self.port}/library/{model}:latest"

    def add_blob(self, kind: str, content: bytes) -> dict[str, object]:
        """Store a blob. Return its entry for a manifest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return {"mediaType": kind, "digest": digest, "size": len(content)}

    def make_manifest(self, model: str) -> bytes:
        """Return the manifest of a model, and store its blobs."""
        config = {"model_format": "gguf", "model_family": "llama", "architecture": "amd64", "os": "linux"}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add_blob(CONFIG, json.dumps({**config, "model": model}).encode()),
            "layers": [self.add_blob(MODEL, make_content(model))],
        }
        return json.dumps(manifest).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """A handler of the part of the protocol that a pull uses."""

    protocol_version = "HTTP/1.1"

    @property
    def registry(self) -> Registry:
        """Return the registry that is served."""
        return cast(Server, self.server).registry

    def do_HEAD(self) -> None:
        """Answer with a blob's length."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with a manifest, a redirect to a blob's other host name, or a blob."""
        words = self.path.strip("/").split("/")
        if "manifests" in words:
            self._send(200, self.registry.make_manifest(words[-3]), MANIFEST)
        elif self.command == "GET" and "blobs" in words:
            self.send_response(307)
            self.send_header("Location", f"http://{self.registry.blob_host}:{self.registry.port}/data/{words[-1]}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send_blob(self.registry.blobs[words[-1]])

    def _send_blob(self, content: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match:
            self._send(200, content, "application/octet-stream")
            return
        first, last = int(match[1]), int(match[2] or len(content) - 1)
        self._send(206, content[first : last + 1], "application/octet-stream")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: len(body) // 2])
        if len(body) > MODEL_BYTES // 2:
            self.registry.waiting.set()
            self.registry.resume.wait()
        self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server of one registry, on a free port."""

    daemon_threads = True

    def __init__(self, address: str, blob_host: str) -> None:
        """Listen."""
        super().__init__((address, 0), Handler)
        self.registry = Registry(address, self.server_address[1], blob_host)


@contextmanager
def serving_models(address: str, blob_host: str) -> Iterator[Registry]:
    """Run a registry on an address. Blobs are sent to clients that ask ``blob_host`` for them, another name of it."""
    with Server(address, blob_host) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.registry
        finally:
            server.registry.resume.set()
            server.shutdown()
            thread.join()
