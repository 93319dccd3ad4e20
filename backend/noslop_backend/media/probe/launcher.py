# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask this process's fork server for a child, and read what the child answers.

The fork server starts with the service, or with the first file, and again when it was ended. A process that was forked
starts its own.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass

from noslop_backend.media.probe.protocol import STARTED, Job
from noslop_backend.media.tags.limits import JSON_LIMIT_BYTES

#: A child that answers more than this is broken.
ANSWER_LIMIT_BYTES = JSON_LIMIT_BYTES + 256 * 1024
#: Seconds until a child has started: for the first one, the fork server loads the decoders meanwhile.
START_WALL_S = 120.0
#: How often `alive` is called while a child works, at least.
_STEP_S = 1.0
_PIECE_BYTES = 64 * 1024
_COMMAND = (sys.executable, "-I", "-m", "noslop_backend.media.probe.fork_server")


class ServerGoneError(Exception):
    """The fork server ended before the child did."""


@dataclass(frozen=True)
class Answer:
    """What a child wrote, and the wait status that it ended with; None where its time on the wall was over."""

    content: bytes
    status: int | None


@dataclass(frozen=True)
class _Server:
    """A fork server that was started, and the socket for requests."""

    process: subprocess.Popen[bytes]
    requests: socket.socket


class Launcher:
    """The fork server of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: _Server | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the fork server, while there is one."""
        return self._server.process.pid if self._server is not None else None

    def ask(self, job: Job, file: int, wall_s: float, alive: Callable[[], None]) -> Answer:
        """Have a child read a file, and wait for its answer.

        Args:
            job: what to do with the file.
            file: a descriptor of the file, open for reading.
            wall_s: seconds that it may take from the child's start on; then the child is killed.
            alive: called every second or so; what it raises ends the child and is raised here.
        """
        # The kernel ends the fork server first when memory is scarce: then another one is asked, once.
        for _ in range(2):
            server: _Server | None = None
            with suppress(ServerGoneError), ExitStack() as stack:
                reads, writes = os.pipe()
                stack.callback(os.close, reads)
                mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                stack.enter_context(mine)
                try:
                    server = self._send(json.dumps(asdict(job)).encode(), [file, writes, other.fileno()])
                finally:
                    os.close(writes)
                    other.close()
                return _receive(reads, mine, wall_s, alive)
            self._discard(server)
        return Answer(b"", signal.SIGKILL)

    def _send(self, packet: bytes, descriptors: list[int]) -> _Server:
        """Send a request to the fork server, which is started where it is not running."""
        with self._lock:
            server = self._start_missing()
            try:
                socket.send_fds(server.requests, [packet], descriptors)
            except OSError as error:
                self._stop()
                raise ServerGoneError from error
            return server

    def start(self) -> None:
        """Start the fork server, so that it has loaded the decoders before the first file comes. Waits for nothing."""
        with self._lock, suppress(ServerGoneError):
            self._start_missing()

    def _start_missing(self) -> _Server:
        if self._server is None or self._server.process.poll() is not None:
            self._stop()
            self._server = _start()
        return self._server

    def _discard(self, server: _Server | None) -> None:
        """End a fork server that does not answer, unless another thread replaced it already."""
        with self._lock:
            if server is not None and self._server is server:
                self._stop()

    def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.requests.close()
            server.process.kill()
            server.process.wait()

    def stop(self) -> None:
        """End the fork server, and its children with it. The next file starts another."""
        with self._lock:
            self._stop()

    def forget(self) -> None:
        """Leave the fork server to the process that this one was forked from."""
        self._lock = threading.Lock()
        if self._server is not None:
            self._server.requests.close()
            # No child of this process: there is nothing to wait for.
            self._server.process.returncode = 0
            self._server = None


def _start() -> _Server:
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with other:
        try:
            # Nothing of this process goes along: no descriptor but the socket, no variable of the environment.
            process = subprocess.Popen(
                _COMMAND,
                stdin=other.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError as error:
            mine.close()
            raise ServerGoneError from error
    return _Server(process, mine)


def _receive(reads: int, control: socket.socket, wall_s: float, alive: Callable[[], None]) -> Answer:
    """Read the answer until the child has ended, or its time is over. Closing `control` afterwards kills it."""
    content = bytearray()
    until = time.monotonic() + START_WALL_S
    with selectors.DefaultSelector() as selector:
        selector.register(reads, selectors.EVENT_READ)
        selector.register(control, selectors.EVENT_READ)
        status: int | None = None
        while selector.get_map():
            if (left := until - time.monotonic()) <= 0:
                return Answer(bytes(content), None)
            alive()
            for key, _ in selector.select(min(left, _STEP_S)):
                if key.fd == reads:
                    piece = os.read(reads, _PIECE_BYTES)
                    content += piece
                    if not piece:
                        selector.unregister(reads)
                    if len(content) > ANSWER_LIMIT_BYTES:
                        return Answer(b"", -1)
                else:
                    packet = control.recv(64)
                    if not packet:
                        raise ServerGoneError
                    if packet == STARTED:
                        until = time.monotonic() + wall_s
                    else:
                        status = int(packet)
                        selector.unregister(control)
        return Answer(bytes(content), status)


LAUNCHER = Launcher()
atexit.register(LAUNCHER.stop)
os.register_at_fork(after_in_child=LAUNCHER.forget)
