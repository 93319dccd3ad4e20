# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass bytes between a program and a host over TLS, when both sides have proven their keys.

Hosts of a studio have no SSH keys of each other, and sshd may refuse root. So each side makes a key for one move, and
Ansible hands each the certificate of the other, through the SSH connections that the controller already trusts.

This file imports the standard library only: it is written to the new server too, where rsync runs it as its remote
shell (``python3 -I connect.py SETTINGS ...``).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import ssl
import sys
import time

BLOCK_BYTES = 256 * 1024
#: The most that waits to be sent in one direction.
BUFFER_BYTES = 1024 * 1024
CONNECT_S = 20.0
#: A handshake, or a connection over which nothing passes, ends after so many seconds.
HANDSHAKE_S = 30.0
#: Seconds that the other side has to close the connection after this one has sent all.
CLOSE_S = 10.0
#: X509_V_FLAG_NO_CHECK_TIME: the certificates are minutes old, and the clocks of two hosts differ.
_NO_CHECK_TIME = 0x200000


def make_context(certificate: str, key: str, peer: str, *, server: bool) -> ssl.SSLContext:
    """Return the settings of a connection in which each side accepts one certificate of the other and no other.

    Args:
        certificate: path of the own certificate.
        key: path of its key.
        peer: path of the other side's certificate.
        server: whether this side listens.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The certificate is for a key, and not for a name: the only one that is trusted is the other side's own.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= _NO_CHECK_TIME
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(peer)
    return context


def relay(connection: ssl.SSLSocket, source: int, sink: int) -> None:
    """Pass bytes in both directions, until the other side has closed the connection.

    When the program has ended, what it wrote is sent, and the other side has :data:`CLOSE_S` to close.

    Args:
        connection: an open connection.
        source: a descriptor whose bytes are sent.
        sink: a descriptor that gets what is received.

    Raises:
        OSError: the connection broke.
    """
    connection.setblocking(False)
    for descriptor in (source, sink):
        os.set_blocking(descriptor, False)
    _Relay(connection, source, sink).run()


class _Relay:
    """The bytes on their way between a connection and a program."""

    def __init__(self, connection: ssl.SSLSocket, source: int, sink: int) -> None:
        self._connection, self._source, self._sink = connection, source, sink
        self._outgoing, self._incoming = bytearray(), bytearray()
        self._source_open = self._sink_open = self._connection_open = True
        self._deadline: float | None = None

    def run(self) -> None:
        """Pass bytes until the connection is closed and all is written."""
        while self._connection_open or self._incoming:
            moved = [self._read(), self._send(), self._receive(), self._write()]
            if self._deadline is not None and time.monotonic() > self._deadline:
                return
            if not any(moved):
                self._wait()

    def _read(self) -> bool:
        if not self._source_open or len(self._outgoing) >= BUFFER_BYTES:
            return False
        try:
            data = os.read(self._source, BLOCK_BYTES)
        except BlockingIOError:
            return False
        self._source_open = bool(data)
        self._outgoing += data
        return True

    def _send(self) -> bool:
        sent = 0
        if self._outgoing and self._connection_open:
            try:
                sent = self._connection.send(self._outgoing[:BLOCK_BYTES])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del self._outgoing[:sent]
        if not self._source_open and not self._outgoing and self._deadline is None:
            self._deadline = time.monotonic() + CLOSE_S
            with contextlib.suppress(OSError):  # the other side may be gone
                # Not the method of SSLSocket, which would go on in clear text.
                socket.socket.shutdown(self._connection, socket.SHUT_WR)
        return sent > 0

    def _receive(self) -> bool:
        if not self._connection_open or len(self._incoming) >= BUFFER_BYTES:
            return False
        try:
            data = self._connection.recv(BLOCK_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except ssl.SSLEOFError:
            data = b""
        self._connection_open = bool(data)
        self._incoming += data
        return True

    def _write(self) -> bool:
        if not self._incoming:
            return False
        written = len(self._incoming)  # of no use any more where the program has ended
        if self._sink_open:
            try:
                written = os.write(self._sink, self._incoming[:BLOCK_BYTES])
            except BlockingIOError:
                return False
            except BrokenPipeError:
                self._sink_open = False
        del self._incoming[:written]
        return True

    def _wait(self) -> None:
        """Wait until a descriptor may have something to do."""
        receives = self._connection_open and len(self._incoming) < BUFFER_BYTES
        sends = self._connection_open and bool(self._outgoing)
        with selectors.DefaultSelector() as selector:
            if receives or sends:
                events = selectors.EVENT_READ * receives | selectors.EVENT_WRITE * sends
                selector.register(self._connection, events)
            if self._source_open and len(self._outgoing) < BUFFER_BYTES:
                selector.register(self._source, selectors.EVENT_READ)
            if self._incoming:
                selector.register(self._sink, selectors.EVENT_WRITE)
            selector.select(1.0)


def main() -> int:
    """Connect the standard input and output of this process with the old server. Return the exit code."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        settings = json.load(stream)
    context = make_context(settings["certificate"], settings["key"], settings["peer"], server=False)
    try:
        with socket.create_connection((settings["address"], settings["port"]), CONNECT_S) as raw:
            raw.settimeout(HANDSHAKE_S)
            with context.wrap_socket(raw) as connection:
                relay(connection, 0, 1)
    except OSError as error:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{settings['address']} port {settings['port']}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
