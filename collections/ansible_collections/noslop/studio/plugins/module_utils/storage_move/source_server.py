# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offer the shares to the new server for reading, over connections that have proven the key of this move.

A connection gets ``rsync --server --daemon`` with a configuration of its own, and nothing that the other side sends is
ever an argument of a program or a path outside: each share is a module that is read-only and has its directory as root.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.storage_move import tls_relay

#: Seconds without a connection after which the server ends.
IDLE_S = 900.0
_CHECK_S = 1.0
#: What rsync reads as its environment: none of its variables (rsync(1)), and English messages.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
MANIFESTS = "manifests"


def render_configuration(shares: Mapping[str, str], manifests: str) -> str:
    """Return an rsyncd.conf(5) with a module for each share, and one for the lists of their files."""
    lines = [
        "uid = 0",
        "gid = 0",
        "use chroot = yes",
        "numeric ids = yes",
        "read only = yes",
        "list = no",
        "munge symlinks = no",
        "reverse lookup = no",
        "log file = /dev/null",
    ]
    for name, path in {**shares, MANIFESTS: manifests}.items():
        lines += [f"[{name}]", f"path = {path}"]
    return "\n".join(lines) + "\n"


def listen(address: str, port: int = 0) -> socket.socket:
    """Return a socket that listens at an address of this host; port 0 is any free one.

    Raises:
        OSError: this host does not have the address, or the port is in use.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    return socket.create_server((address, port), family=family)


class SourceServer:
    """A server that lives for one move."""

    def __init__(
        self, listener: socket.socket, context: ssl.SSLContext, clients: Collection[str], command: Sequence[str]
    ) -> None:
        """Prepare a server.

        Args:
            listener: a listening socket.
            context: the settings of its connections.
            clients: the addresses that may connect.
            command: the program that each connection talks to.
        """
        self._listener, self._context, self._command = listener, context, list(command)
        self._clients = {ipaddress.ip_address(client) for client in clients}
        self._used = time.monotonic()
        self._active = 0
        self._lock = threading.Lock()

    def serve(self, idle_s: float = IDLE_S) -> None:
        """Serve until there was no connection for a time."""
        self._listener.settimeout(_CHECK_S)
        while not self._is_idle(idle_s):
            try:
                connection, address = self._listener.accept()
            except (TimeoutError, socket.timeout):  # two classes until Python 3.10
                continue
            if self._may_connect(address[0]):
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
            else:
                connection.close()

    def _may_connect(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        return (getattr(address, "ipv4_mapped", None) or address) in self._clients

    def _is_idle(self, idle_s: float) -> bool:
        with self._lock:
            return not self._active and time.monotonic() - self._used > idle_s

    def _answer(self, raw: socket.socket) -> None:
        """Serve one connection. What goes wrong ends it, and the other side says so."""
        with contextlib.suppress(OSError), raw:
            raw.settimeout(tls_relay.HANDSHAKE_S)
            with self._context.wrap_socket(raw, server_side=True) as connection:
                self._count(1)
                try:
                    self._run(connection)
                finally:
                    self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._active += change
            self._used = time.monotonic()

    def _run(self, connection: ssl.SSLSocket) -> None:
        program = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
        )
        given, printed = program.stdin, program.stdout
        if given is None or printed is None:
            raise OSError("rsync was started without pipes")
        try:
            # The output of rsync is what is sent.
            tls_relay.relay(connection, printed.fileno(), given.fileno())
        finally:
            given.close()
            printed.close()
            with contextlib.suppress(OSError):
                program.terminate()
            program.wait()


def make_command(rsync: str, configuration: str) -> list[str]:
    """Return the program that a connection talks to: rsync as a daemon on its standard input and output."""
    return [rsync, "--server", "--daemon", f"--config={os.path.abspath(configuration)}", "."]
