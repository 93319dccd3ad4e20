"""Keep TCP connections open, send lines over all of them, and print over which of them a line arrived.

    open_connections.py keep NAME [listen:[IPV4:]PORT ...] [connect:SOURCE:PORT:HOST:PORT ...]
    open_connections.py send NAME LINE
    open_connections.py received NAME LINE

`keep` is ready when its control socket exists; source port 0 means any. `received` prints one line a connection:
`ADDRESS:PORT yes|no`, the address of the side with the higher port, and the lower port.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from pathlib import Path

WAIT_S = 2


class Connections:
    """All open connections of one process, with the data that arrived over each."""

    def __init__(self, control: Path, listeners: list[str], targets: list[list[str]]) -> None:
        self._received: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()
        for text in listeners:
            address, _, port = text.rpartition(":")
            server_address = (f"::ffff:{address}" if address else "::", int(port))
            listener = socket.create_server(server_address, family=socket.AF_INET6, dualstack_ipv6=True)
            self._selector.register(listener, selectors.EVENT_READ, self._accept)
        for source, source_port, host, target_port in targets:
            self._add(socket.create_connection((host, int(target_port)), 10, (source, int(source_port))))
        server = socket.socket(socket.AF_UNIX)
        Path(f"{control}.new").unlink(missing_ok=True)
        server.bind(f"{control}.new")
        server.listen()
        os.rename(f"{control}.new", control)
        self._selector.register(server, selectors.EVENT_READ, self._answer)

    def run(self) -> None:
        """Read from connections, and answer commands."""
        while True:
            self._handle_events(None)

    def _handle_events(self, timeout_s: float | None) -> bool:
        events = self._selector.select(timeout_s)
        for key, _ in events:
            key.data(key.fileobj)
        return bool(events)

    def _add(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._received[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ, self._read)

    def _accept(self, listener: socket.socket) -> None:
        self._add(listener.accept()[0])

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        self._received[connection] += data
        if not data:
            self._selector.unregister(connection)
            del self._received[connection]
            connection.close()

    def _answer(self, server: socket.socket) -> None:
        with server.accept()[0] as client:
            verb, line = client.recv(4096).decode().split()
            if verb == "send":
                for connection in self._received:
                    connection.send(line.encode() + b"\n")
            else:
                # This answer is sent before the next command is read.
                while self._missing(line) and self._handle_events(WAIT_S):
                    pass
                missing = self._missing(line)
                answers = [f"{describe(each)} {'no' if each in missing else 'yes'}" for each in self._received]
                client.sendall("\n".join(sorted(answers)).encode())

    def _missing(self, line: str) -> list[socket.socket]:
        return [each for each, data in self._received.items() if line.encode() not in data.split(b"\n")]


def describe(connection: socket.socket) -> str:
    """Name a connection by the address of the side with the higher port, and the lower port."""
    own, peer = connection.getsockname(), connection.getpeername()
    client, port = (peer, own[1]) if own[1] < peer[1] else (own, peer[1])
    return f"{client[0].removeprefix('::ffff:')}:{port}"


def main() -> None:
    """Run the command that the arguments name."""
    verb, name, *words = sys.argv[1:]
    control = Path("/run") / f"connections-{name}"
    if verb == "keep":
        listeners = [word.partition(":")[2] for word in words if word.startswith("listen:")]
        targets = [word.split(":")[1:] for word in words if word.startswith("connect:")]
        Connections(control, listeners, targets).run()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(control))
        client.sendall(f"{verb} {words[0]}".encode())
        while answer := client.recv(65536):
            print(answer.decode(), end="")


if __name__ == "__main__":
    main()
