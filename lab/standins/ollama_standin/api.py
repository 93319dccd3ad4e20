# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the HTTP interface."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import os
import re
import socket
import urllib.parse
from collections.abc import Iterator
from typing import Any, Callable

from .common import VERSION, OllamaError, is_loopback, log
from .models import Models, Name

# What pages of this host may send, beside OLLAMA_ORIGINS.
LOCAL_ORIGINS = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 (a name in a header)
LOCAL_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
LOCAL_DOMAINS = (".localhost", ".local", ".internal")


def accepts_host(header: str) -> bool:
    """Return whether a server on loopback answers a request with this Host, so that no name of others leads to it."""
    name = urllib.parse.urlsplit(f"//{header}").hostname or ""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name in ("", "localhost", socket.gethostname().lower()) or name.endswith(LOCAL_DOMAINS)
    return address.is_loopback or address.is_private or address.is_unspecified


def accepts_origin(origin: str, host: str) -> bool:
    """Return whether a page of this origin may send requests: one of this host or of the server, or a named one."""
    allowed = os.environ.get("OLLAMA_ORIGINS", "").strip("\"' ").split(",")
    if not origin or origin in (f"http://{host}", f"https://{host}") or origin in allowed or "*" in allowed:
        return True
    url = urllib.parse.urlsplit(origin)
    return url.scheme in LOCAL_SCHEMES or (url.scheme in ("http", "https") and url.hostname in LOCAL_ORIGINS)


class Handler(http.server.BaseHTTPRequestHandler):
    """A handler of one connection. A streamed answer is one JSON object a line."""

    protocol_version = "HTTP/1.1"
    server: Server

    def _json(self, body: object, status: int = 200, kind: str = "application/json; charset=utf-8") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, events: Iterator[dict[str, Any]], streamed: bool) -> None:
        """Send events as they occur (a failure in mid-stream is an `error` line), or only the last one."""
        if not streamed:
            self._json(list(events)[-1])
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in events:
                self._chunk(event)
        except (OllamaError, OSError) as error:
            if isinstance(error, ConnectionError):
                raise
            self._chunk({"error": str(error)})
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, event: dict[str, Any]) -> None:
        line = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _answer(self) -> None:
        route = (("GET" if self.command == "HEAD" else self.command), self.path.split("?")[0])
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        host = self.headers.get("Host") or ""
        is_local = is_loopback(str(self.server.server_address[0]))
        if not accepts_origin(self.headers.get("Origin") or "", host) or (is_local and not accepts_host(host)):
            self._json("", 403, "text/plain")
            return
        try:
            call = ROUTES.get(route)
            if call is None:
                self._json("404 page not found", 404, "text/plain")
                return
            try:
                request = json.loads(raw) if raw else {}
            except ValueError as error:
                raise OllamaError(f"invalid request: {error}", 400) from error
            call(self, request)
        except ConnectionError:
            self.close_connection = True
        except (OllamaError, OSError) as error:
            self._json({"error": str(error)}, getattr(error, "status", 500))

    do_GET = do_HEAD = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Log a request as the original's web framework does."""
        log.info("[GIN] %s %s", self.address_string(), format % args)

    def root(self, _: dict[str, Any]) -> None:
        """Answer /."""
        self._json("Ollama is running", kind="text/plain; charset=utf-8")

    def version(self, _: dict[str, Any]) -> None:
        """Answer /api/version."""
        self._json({"version": VERSION})

    def tags(self, _: dict[str, Any]) -> None:
        """Answer /api/tags."""
        models = self.server.models
        descriptions = []
        for name in models.names(skip_invalid=True):
            try:
                descriptions.append(models.describe(name))
            except OllamaError as error:
                log.warning("bad manifest name=%s error=%s", name.short, error)
        self._json({"models": descriptions})

    def ps(self, _: dict[str, Any]) -> None:
        """Answer /api/ps. The stand-in loads no model."""
        self._json({"models": []})

    def show(self, request: dict[str, Any]) -> None:
        """Answer /api/show."""
        models = self.server.models
        models.used()
        name = Name(request_model(request))
        about = models.describe(name)
        modelfile = f"# Modelfile generated by the NoSlop stand-in\nFROM {name.short}\n"
        info = {"general.architecture": "standin", "general.parameter_count": 0}
        keep = {key: about[key] for key in ("details", "modified_at")}
        self._json({"modelfile": modelfile, "template": "", "model_info": info, "capabilities": ["completion"], **keep})

    def pull(self, request: dict[str, Any]) -> None:
        """Answer /api/pull."""
        events = self.server.models.pull(Name(request_model(request)))
        self._stream(events, request.get("stream", True))

    def create(self, request: dict[str, Any]) -> None:
        """Answer /api/create, which supports only `from` another model."""
        if not request.get("from"):
            raise OllamaError("neither 'from' or 'files' was specified", 400)
        name = Name(request_model(request))
        self.server.models.manifest(Name(request["from"]))
        events = self.server.models.create(name, request["from"], request.get("system", ""))
        self._stream(events, request.get("stream", True))

    def delete(self, request: dict[str, Any]) -> None:
        """Answer /api/delete."""
        self.server.models.delete(Name(request_model(request)))
        self._json("", kind="text/plain")

    def generate(self, request: dict[str, Any]) -> None:
        """Answer /api/generate: read the model, then report its size."""
        name = Name(request_model(request))
        size = self.server.models.load(name)
        prompt = request.get("prompt", "")
        text = f"This is the NoSlop stand-in for Ollama: it read {size} bytes of {name.short} and runs no model."
        now = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        head = {"model": name.short, "created_at": now}
        events = [{**head, "response": word, "done": False} for word in re.findall(r"\S+\s*", text) if prompt]
        end = {**head, "response": "", "done": True, "done_reason": "stop" if prompt else "load"}
        if request.get("stream", True):
            self._stream(iter([*events, end]), True)
        else:
            self._json({**end, "response": text if prompt else ""})


def request_model(request: dict[str, Any]) -> str:
    """Return the model of a request, from the new field or the old."""
    return str(request.get("model") or request.get("name") or "")


ROUTES: dict[tuple[str, str], Callable[[Handler, dict[str, Any]], None]] = {
    ("GET", "/"): Handler.root,
    ("GET", "/api/version"): Handler.version,
    ("GET", "/api/tags"): Handler.tags,
    ("GET", "/api/ps"): Handler.ps,
    ("POST", "/api/show"): Handler.show,
    ("POST", "/api/pull"): Handler.pull,
    ("POST", "/api/create"): Handler.create,
    ("POST", "/api/generate"): Handler.generate,
    ("DELETE", "/api/delete"): Handler.delete,
}


class Server(http.server.ThreadingHTTPServer):
    """A server on one address. Two daemons cannot share a port."""

    daemon_threads = True
    models: Models

    def __init__(self, host: str, port: int) -> None:
        if host == "0.0.0.0" and has_ipv6():  # noqa: S104 (the original listens on [::] then, for both versions of IP)
            host = "::"
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        """Bind to the address, and to IPv4 as well where it is [::]."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def has_ipv6() -> bool:
    """Return whether this host has IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
