# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve chosen files of one directory to chosen hosts for a short time, to those that know a secret.

Hosts of a studio have no keys for each other, so a model travels from one to the other by HTTP. A request names a file
by its number, so nothing that comes from the network is ever a path. The receiver compares size and SHA-256, so a host
on the way can spoil a copy, and not replace it. The secret comes in a header: an address with a secret in it would be
in messages and in the record of what was fetched.
"""

from __future__ import annotations

import hmac
import http.server
import ipaddress
import os
import re
import socket
import socketserver
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any, cast

from ansible_collections.noslop.studio.plugins.module_utils.models import adoption, model_tree
from ansible_collections.noslop.studio.plugins.module_utils.models.adoption import Offer

#: Seconds without a request or a byte after which the server ends.
IDLE_S = 900.0
#: A client that reads or writes nothing for so many seconds is dropped.
CLIENT_TIMEOUT_S = 60.0
_CHECK_S = 0.5


def listen(address: str) -> socket.socket:
    """Return a socket that listens on a free port of an address.

    Raises:
        OSError: this host does not have the address.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    return socket.create_server((address, 0), family=family)


def serve(listener: socket.socket, top: int, offers: Sequence[Offer], clients: Collection[str], secret: str) -> None:
    """Serve files until no client asked for :data:`IDLE_S`.

    Args:
        listener: a listening socket.
        top: the open directory of the files.
        offers: the files; the number of each is its path in a request.
        clients: addresses that may ask.
        secret: what a request has as its bearer token.
    """
    with _Server(listener, top, offers, clients, secret) as server:
        server.timeout = _CHECK_S
        while not server.is_idle():
            server.handle_request()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "noslop"
    sys_version = ""
    timeout = CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        """Send a file, or the rest of one."""
        server = cast(_Server, self.server)
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        allowed = hmac.compare_digest(given, b"Bearer " + server.secret.encode())
        match = re.fullmatch(r"/(\d{1,9})", self.path, re.ASCII)
        if not allowed or not match or int(match[1]) >= len(server.offers):
            self._send_status(404)
            return
        offer = server.offers[int(match[1])]
        try:
            descriptor = model_tree.open_file(server.top, offer.path)
        except OSError:
            self._send_status(404)
            return
        try:
            status = os.fstat(descriptor)
            if adoption.make_version(status.st_ino, status.st_ctime_ns) != offer.version:
                self._send_status(410)
                return
            self._send_file(descriptor, offer)
        finally:
            os.close(descriptor)

    def _send_status(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_file(self, descriptor: int, offer: Offer) -> None:
        etag = f'"{offer.version}"'
        match = re.fullmatch(r"bytes=(\d{1,18})-", self.headers.get("Range", ""), re.ASCII)
        first = int(match[1]) if match and self.headers.get("If-Range", etag) == etag else 0
        if first and first >= offer.size:
            self._send_status(416)
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{offer.size - 1}/{offer.size}")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(offer.size - first))
        self.end_headers()
        while first < offer.size:
            block = os.pread(descriptor, min(model_tree.BLOCK_BYTES, offer.size - first), first)
            if not block:
                self.close_connection = True  # it became shorter
                return
            self.wfile.write(block)
            cast(_Server, self.server).record_use()
            first += len(block)

    def log_message(self, *__: object) -> None:
        """Print nothing: there is no terminal."""


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def __init__(
        self, listener: socket.socket, top: int, offers: Sequence[Offer], clients: Collection[str], secret: str
    ) -> None:
        self.address_family = listener.family
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.top, self.offers, self.secret = top, offers, secret
        self._clients = {ipaddress.ip_address(client) for client in clients}
        self._used = time.monotonic()
        self._lock = threading.Lock()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether a connection is from a host that may ask; all others are closed without an answer."""
        address = ipaddress.ip_address(client_address[0].partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        if (mapped or address) not in self._clients:
            return False
        self.record_use()
        return True

    def record_use(self) -> None:
        """Record that a client is served now."""
        with self._lock:
            self._used = time.monotonic()

    def is_idle(self) -> bool:
        """Return whether no client was served for a long time."""
        with self._lock:
            return time.monotonic() - self._used > IDLE_S

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client may go away at any time, and asks again."""
