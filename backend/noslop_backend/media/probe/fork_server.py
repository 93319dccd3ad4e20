# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fork a confined child for each file: `python -I -m noslop_backend.media.probe.fork_server PARENT`, socket on stdin.

Loading the decoders takes a tenth of a second and more, so this process has loaded them and reads no file: each child
is a copy of it as it was at its start, and so contains nothing of any other file. It does what the backend asks over
the socket, may make no system call but those (`seccomp.py`), and ends when the socket does, its children with it.

A request is one packet: JSON of a `protocol.Job`, and three descriptors: the file, a pipe for the answer, and a socket.
On the socket comes `started`, and the child's wait status when it has ended; when the other end of it is closed the
child is killed.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from dataclasses import dataclass

from noslop_backend.core import confinement
from noslop_backend.media.probe import child, images, seccomp, streams
from noslop_backend.media.probe.protocol import PACKET_BYTES, STARTED, Job

_DESCRIPTORS = 3
#: Two for each child, and a few.
_DESCRIPTORS_LIMIT = 1024
#: Character sets of texts, which Python otherwise loads from files when it first needs them.
_CODECS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "ascii", "iso2022_jp")


@dataclass
class _Child:
    """A child that runs."""

    pid: int
    pidfd: int
    control: socket.socket


class ForkServer:
    """Children of this process, by the descriptors that tell about them."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)
        self._by_pidfd: dict[int, _Child] = {}
        self._by_control: dict[int, _Child] = {}

    def serve(self) -> None:
        """Fork children as requested, until the backend has gone."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._requests.fileno():
                    if not self._accept():
                        return
                elif descriptor in self._by_pidfd:
                    self._reap(self._by_pidfd[descriptor])
                elif descriptor in self._by_control:
                    self._kill(self._by_control[descriptor])

    def _accept(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._requests, PACKET_BYTES, _DESCRIPTORS)
        if not packet:
            return False
        if len(descriptors) == _DESCRIPTORS:
            file, answer, control = descriptors
            self._start(Job(**json.loads(packet)), file, answer, socket.socket(fileno=control))
            descriptors = [file, answer]
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _start(self, job: Job, file: int, answer: int, control: socket.socket) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            control.close()
            return
        if pid == 0:
            _run_child(job, parent, file, answer)
        with contextlib.suppress(OSError):
            control.send(STARTED)
        started = _Child(pid, os.pidfd_open(pid), control)
        self._by_pidfd[started.pidfd] = self._by_control[control.fileno()] = started
        self._poll.register(started.pidfd, select.POLLIN)
        self._poll.register(control, select.POLLIN)

    def _kill(self, one: _Child) -> None:
        self._poll.unregister(one.control)
        del self._by_control[one.control.fileno()]
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(one.pidfd, signal.SIGKILL)

    def _reap(self, one: _Child) -> None:
        _, status = os.waitpid(one.pid, 0)
        self._poll.unregister(one.pidfd)
        del self._by_pidfd[one.pidfd]
        os.close(one.pidfd)
        if self._by_control.pop(one.control.fileno(), None):
            self._poll.unregister(one.control)
        with contextlib.suppress(OSError):
            one.control.send(str(status).encode())
        one.control.close()


def _run_child(job: Job, parent: int, file: int, answer: int) -> None:
    """Read a file in this process, which was forked for it. Does not return."""
    status = 70
    try:
        confinement.end_with(parent)
        os.dup2(file, 0)
        os.dup2(answer, 1)
        # The backend's socket, and everything of other files.
        os.closerange(3, _DESCRIPTORS_LIMIT)
        with os.fdopen(0, "rb", closefd=False) as stream:
            child.read_file(stream, job, child.write_line)
        status = 0
    finally:
        # At once: what a decoder has yet to tidy up is of no use.
        os._exit(status)


def main() -> int:
    """Serve the requests on standard input; returns the exit code."""
    images.prepare()
    streams.prepare()
    for name in _CODECS:
        codecs.lookup(name)
    gc.freeze()
    requests = socket.socket(fileno=os.dup(0))
    # Where memory becomes scarce all the same, this process and its children are those that the kernel ends.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS_LIMIT, _DESCRIPTORS_LIMIT))
    confinement.protect_memory()
    seccomp.allow_only_forking()
    ForkServer(requests).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
