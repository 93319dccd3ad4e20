# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how a model loads through the cache of a host, against the same file on the same disk without a cache.

    python -m bench.model_cache [DIRECTORY]

A program opens the model once through the view, and the cache copies it; the share is a directory here, because what
is measured is read from the copy. Models are read through a memory map, page by page, as loaders do. `cold`: nothing of
the file is in memory. `warm`: the copy was read by what keeps models warm, and the other file by a program. The rounds
alternate.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.model_cache.layout import CachedShare
from ansible_collections.noslop.studio.plugins.module_utils.model_cache.service import CacheService
from ansible_collections.noslop.studio.plugins.module_utils.models import page_cache

SIZE_BYTES = 1 << 30
ROUNDS = 7
_BLOCK_BYTES = 1 << 20


def make_models(directory: Path) -> tuple[CachedShare, Path]:
    """Write a share with a model, and the same model beside it. Return the share and the path of the other file."""
    digest = hashlib.sha256()
    share, other = directory / "share", directory / "local/model.safetensors"
    for path in (share, other.parent, directory / "cache"):
        path.mkdir()
    (share / ".noslop-share").write_text(json.dumps({"studio_id": "bench", "share": "comfyui_models"}))
    with (share / other.name).open("wb") as stream, other.open("wb") as copy:
        for _ in range(SIZE_BYTES // _BLOCK_BYTES):
            block = os.urandom(_BLOCK_BYTES)
            digest.update(block)
            stream.write(block)
            copy.write(block)
    digests = {other.name: digest.hexdigest()}
    return CachedShare("comfyui_models", str(share), str(directory / "cache"), "bench", digests=digests), other


def copy_to_cache(share: CachedShare, name: str, status: Path) -> Path:
    """Run the cache until the name leads to a copy. Return the path that programs read."""
    service = Process(target=CacheService([share], 2 * SIZE_BYTES, str(status)).run)
    service.start()
    path = Path(share.view) / name
    try:
        while not (path.exists() and os.readlink(path).startswith(share.files)):
            if path.exists():
                with path.open("rb") as stream:
                    stream.read(1)
            time.sleep(0.5)
    finally:
        service.terminate()
        service.join()
    return path


def read_mapped_s(path: Path) -> float:
    """Open a file and read a byte of each of its pages. Return the seconds."""
    began = time.monotonic()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as memory:
        for offset in range(0, len(memory), mmap.PAGESIZE):
            memory[offset]
    return time.monotonic() - began


def evict(path: Path) -> None:
    """Let the kernel forget a file."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        left = page_cache.count_resident(stream.fileno(), SIZE_BYTES)
    assert left == 0, f"{left} bytes of {path} stayed in memory"


def measure(cached: Path, other: Path, number: int) -> dict[str, float]:
    """Read both files without and with memory. Return the seconds of each.

    What is read first leaves the second one less memory, so the sides begin in turn.
    """
    sides = [("cached", cached), ("local disk", other)]
    seconds = {}
    for state in ("cold", "warm"):
        for side, path in sides if number % 2 else reversed(sides):
            evict(cached)
            evict(other)
            if state == "warm" and path is cached:
                with path.open("rb") as stream:
                    page_cache.read_missing(stream.fileno(), SIZE_BYTES)
            elif state == "warm":
                with path.open("rb", buffering=0) as stream:
                    while stream.read(_BLOCK_BYTES):
                        pass
            seconds[f"{side}, {state}"] = read_mapped_s(path)
    return seconds


def main() -> None:
    """Print the medians and the ratios."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        share, other = make_models(Path(name))
        cached = copy_to_cache(share, other.name, Path(name) / "status.json")
        rounds = [measure(cached, other, number) for number in range(ROUNDS)]
    medians = {side: statistics.median(one[side] for one in rounds) for side in rounds[0]}
    ratios = {state: medians[f"cached, {state}"] / medians[f"local disk, {state}"] for state in ("cold", "warm")}
    print(json.dumps({"seconds": medians, "cached / local disk": ratios}, indent=1))


if __name__ == "__main__":
    main()
