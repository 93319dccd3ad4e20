# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a fetch of a model against `curl` of the same file to the same disk, both until it is on the disk.

    python -m bench.model_fetch [DIRECTORY]

The file comes from a server on loopback, once as fast as it can, and once as over a link of 1 Gbit/s. A fetch compares
the SHA-256 of the model, which `curl` does not; `curl` is followed by `sync` of its file. The rounds alternate.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import Process, Queue
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.models.fetch import Transfer, Wanted, fetch

SIZE_BYTES = 1 << 30
ROUNDS = 5
GIGABIT_BYTES_S = 125_000_000
_BLOCK_BYTES = 1 << 20


def serve(path: Path, rate: int, ports: Queue[int]) -> None:
    """Serve one file until the process is ended, with at most `rate` bytes a second; 0 is no limit."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.send_header("ETag", '"1"')
            self.end_headers()
            began, sent = time.monotonic(), 0
            with path.open("rb") as stream:
                while count := os.sendfile(self.connection.fileno(), stream.fileno(), None, _BLOCK_BYTES):
                    sent += count
                    if rate:
                        time.sleep(max(0.0, sent / rate - (time.monotonic() - began)))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ports.put(server.server_address[1])
        server.serve_forever()


def make_model(path: Path) -> str:
    """Write a safetensors file of random content; return its SHA-256. Its pages stay in the cache."""
    header = b'{"weight":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (SIZE_BYTES, SIZE_BYTES)
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for block in (len(header).to_bytes(8, "little") + header, *(os.urandom(_BLOCK_BYTES) for _ in range(1024))):
            stream.write(block)
            digest.update(block)
    return digest.hexdigest()


def measure(directory: Path, sha256: str, url: str) -> dict[str, float]:
    """Return the seconds of a fetch and of curl, each into a directory that is empty."""
    seconds = {}
    share = directory / "share"
    share.mkdir()
    began = time.monotonic()
    fetch(Wanted("loras/model.safetensors", url, sha256), str(share), Transfer())
    seconds["fetch"] = time.monotonic() - began
    shutil.rmtree(share)
    target = directory / "curl"
    began = time.monotonic()
    subprocess.run(["curl", "-sS", "-o", target, url], check=True)
    subprocess.run(["sync", target], check=True)
    seconds["curl"] = time.monotonic() - began
    target.unlink()
    return seconds


def main() -> None:
    """Print the medians and the ratio."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        directory = Path(name)
        sha256 = make_model(directory / "model")
        results = {}
        for link, rate in (("loopback", 0), ("1 Gbit/s", GIGABIT_BYTES_S)):
            ports: Queue[int] = Queue()
            server = Process(target=serve, args=(directory / "model", rate, ports))
            server.start()
            try:
                url = f"http://127.0.0.1:{ports.get()}/model"
                rounds = [measure(directory, sha256, url) for _ in range(ROUNDS)]
            finally:
                server.terminate()
                server.join()
            medians = {side: statistics.median(one[side] for one in rounds) for side in rounds[0]}
            results[link] = {**medians, "ratio": medians["fetch"] / medians["curl"]}
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
