#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve a directory over HTTP, read-only, until SIGTERM: the lab's artifact server.

The server stays in the foreground. When it listens, it prints its address on standard output and then writes the file
with its process id, which it removes when it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """A handler of GET and HEAD for files below the root."""

    protocol_version = "HTTP/1.1"  # one connection for all of a client's requests


class Server(http.server.ThreadingHTTPServer):
    """A server with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Write the process id to a file, and remove the file when the block ends."""
    if path is None:
        yield
        return
    path.write_text(f"{os.getpid()}\n", "ascii")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def main(words: list[str]) -> int:
    """Serve the directory, and return the exit code."""
    parser = argparse.ArgumentParser(description="Serve a directory over HTTP, read-only.")
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDR")
    parser.add_argument("--port", type=int, default=8042, help="0 chooses a free port")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pid-file", type=Path, metavar="FILE")
    arguments = parser.parse_args(words)
    root = arguments.root.resolve()
    if not root.is_dir():
        print(f"{root} is no directory: build it first (build.py {root})", file=sys.stderr)
        return 1
    handler = functools.partial(Handler, directory=str(root))
    try:
        server = Server((arguments.bind, arguments.port), handler)
    except OSError as error:
        address = f"{arguments.bind}:{arguments.port}"
        print(
            f"Cannot listen on {address}: {error}. Stop the program that listens there or choose another port.",
            file=sys.stderr,
        )
        return 1
    with server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"{root} on http://{arguments.bind}:{server.server_address[1]}/", flush=True)
        with pid_file(arguments.pid_file):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
