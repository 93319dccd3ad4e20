# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a running cache: what programs open is copied, within its size, and can be read while the share is away."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.model_cache.layout import CachedShare

from tests.backend.mounts import Passing
from tests.support.ollama_models import write_model
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a share that can hang needs root")

INTERVAL_S, SILENT_S = 0.05, 0.6
PROGRAM = f"""
import json, sys
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import service, layout
shares, limit, status = json.loads(sys.argv[1])
shares = [layout.CachedShare(*share, digests=digests) for *share, digests in shares]
service.CacheService(shares, limit, status, interval_s={INTERVAL_S}, silent_s={SILENT_S}).run()
"""


def make_models(behind: Path, models: Mapping[str, bytes], name: str = "comfyui_models") -> dict[str, str]:
    """Write a share. Return the digest of each model."""
    (behind / ".noslop-share").write_text(json.dumps({"studio_id": "here", "share": name}))
    for path, content in models.items():
        (behind / path).parent.mkdir(parents=True, exist_ok=True)
        (behind / path).write_bytes(content)
    return {path: hashlib.sha256(content).hexdigest() for path, content in models.items()}


class Cache:
    """A cache that runs, over shares of which each has a server of its own."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        self.shares: list[CachedShare] = []
        self.status_file = root / "status.json"
        self._process: subprocess.Popen[str] | None = None
        self.output = ""

    def add(self, share: Path, digests: Mapping[str, str], name: str = "comfyui_models") -> CachedShare:
        directory = self.root / f"cache-{name}"
        directory.mkdir(exist_ok=True)
        self.shares.append(CachedShare(name, str(share), str(directory), "here", digests=digests))
        return self.shares[-1]

    def start(self) -> None:
        shares = [[one.name, one.path, one.directory, one.studio_id, None, dict(one.digests)] for one in self.shares]
        words = json.dumps([shares, self.limit_bytes, str(self.status_file)])
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, words], stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def stop(self) -> str:
        """End it with all its processes, as systemd does. Return what it printed."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGTERM)
        output, __ = self._process.communicate()
        self._process = None
        return output

    def read_status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads(self.status_file.read_text())
        except FileNotFoundError:
            return {}
        return status

    def is_present(self, share: CachedShare) -> bool:
        rows = [one for one in self.read_status().get("shares", []) if one["name"] == share.name]
        return bool(rows) and not rows[0]["is_away"] and not rows[0]["message"]

    def is_away(self, share: CachedShare) -> bool:
        return any(one["name"] == share.name and one["is_away"] for one in self.read_status().get("shares", []))


@contextlib.contextmanager
def running(cache: Cache) -> Iterator[None]:
    cache.start()
    try:
        for share in cache.shares:
            wait_until(lambda share=share: cache.is_present(share))  # type: ignore[misc]  # a default is no argument
        yield
    finally:
        if cache._process is not None:
            cache.output = cache.stop()


def is_copied(share: CachedShare, path: str) -> bool:
    return os.path.dirname(os.path.realpath(os.path.join(share.view, path))) == os.path.realpath(share.files)


def open_and_wait(share: CachedShare, path: str) -> None:
    Path(share.view, path).read_bytes()
    wait_until(lambda: is_copied(share, path))


def test_copies_can_be_read_while_the_server_does_not_answer(tmp_path: Path) -> None:
    with Passing.mounted(tmp_path / "behind", tmp_path / "share") as server:
        models = {"loras/a": os.urandom(3_000_000), "loras/b": b"b", "vae/c": b"c"}
        cache = Cache(tmp_path, 10_000_000)
        share = cache.add(server.path, make_models(server.behind, models))
        with running(cache):
            open_and_wait(share, "loras/a")
            assert sorted(os.listdir(f"{share.view}/loras")) == ["a", "b"]
            server.hang()
            wait_until(lambda: cache.is_away(share))
            assert [str(path.relative_to(share.view)) for path in Path(share.view).rglob("*") if path.is_file()] == [
                "loras/a"
            ]
            assert Path(share.view, "loras/a").read_bytes() == models["loras/a"]
            server.resume()
            wait_until(lambda: cache.is_present(share))
            assert {path: Path(share.view, path).read_bytes() for path in models} == models
    assert "the share does not answer. Until it is back, programs see what is in the cache" in cache.output


def test_restart_while_the_server_is_away_serves_what_was_copied(tmp_path: Path) -> None:
    with Passing.mounted(tmp_path / "behind", tmp_path / "share") as server:
        models = {"loras/a": b"content of a", "loras/b": b"b"}
        cache = Cache(tmp_path, 10_000_000)
        share = cache.add(server.path, make_models(server.behind, models))
        with running(cache):
            open_and_wait(share, "loras/a")
        server.hang()
        cache.status_file.unlink()
        cache.start()
        wait_until(lambda: cache.is_away(share))
        assert os.listdir(f"{share.view}/loras") == ["a"]
        assert Path(share.view, "loras/a").read_bytes() == models["loras/a"]
        server.unmount()
        server.mount()
        wait_until(lambda: cache.is_present(share) and sorted(os.listdir(f"{share.view}/loras")) == ["a", "b"])
        cache.stop()


def test_least_recently_used_copy_goes_first_also_of_another_share(tmp_path: Path) -> None:
    with (
        Passing.mounted(tmp_path / "behind", tmp_path / "share") as server,
        Passing.mounted(tmp_path / "behind-2", tmp_path / "share-2") as store,
    ):
        models = {f"loras/{name}": os.urandom(1_000_000) for name in "abc"}
        make_models(store.behind, {}, "ollama_models")
        write_model(store.behind, "painter:1b", os.urandom(1_000_000))
        (blob,) = [path for path in (store.behind / "blobs").iterdir() if path.stat().st_size == 1_000_000]
        cache = Cache(tmp_path, 3_100_000)
        share = cache.add(server.path, make_models(server.behind, models))
        ollama = cache.add(store.path, {}, "ollama_models")
        with running(cache):
            open_and_wait(share, "loras/a")
            open_and_wait(ollama, f"blobs/{blob.name}")
            open_and_wait(share, "loras/b")
            first = Path(os.path.realpath(f"{share.view}/loras/a"))
            used_ns = first.stat().st_atime_ns
            Path(share.view, "loras/a").read_bytes()
            wait_until(lambda: first.stat().st_atime_ns > used_ns)
            open_and_wait(share, "loras/c")
            wait_until(lambda: not is_copied(ollama, f"blobs/{blob.name}"))
            assert [is_copied(share, f"loras/{name}") for name in "abc"] == [True] * 3
            assert Path(ollama.view, "blobs", blob.name).read_bytes() == blob.read_bytes(), "the share has it"
            status = cache.read_status()
            assert status["removed"] == 1
            assert sum(one["bytes"] for one in status["shares"]) <= 3_100_000


def test_what_is_damaged_too_large_or_not_in_the_catalogue_is_read_from_the_share(tmp_path: Path) -> None:
    with Passing.mounted(tmp_path / "behind", tmp_path / "share") as server:
        models = {"loras/damaged": b"damaged", "loras/large": os.urandom(5_000_000), "loras/good": b"good"}
        digests = make_models(server.behind, {**models, "loras/unlisted": b"unlisted"})
        digests = {**{path: digests[path] for path in models}, "loras/damaged": "ab" * 32}
        cache = Cache(tmp_path, 4_000_000)
        share = cache.add(server.path, digests)
        with running(cache):
            for path in ("loras/damaged", "loras/large", "loras/unlisted"):
                Path(share.view, path).read_bytes()
            open_and_wait(share, "loras/good")
            wait_until(lambda: len(cache.read_status()["failed"]) == 2)
            messages = {one["path"]: one["message"] for one in cache.read_status()["failed"]}
            assert "has the SHA-256" in messages["loras/damaged"]
            assert "5000000 bytes, and the cache has room for 4000000" in messages["loras/large"]
            assert not any(is_copied(share, path) for path in ("loras/damaged", "loras/large", "loras/unlisted"))
            assert Path(share.view, "loras/large").read_bytes() == models["loras/large"]


def test_process_of_a_share_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with Passing.mounted(tmp_path / "behind", tmp_path / "share") as server:
        cache = Cache(tmp_path, 4_000_000)
        share = cache.add(server.path, make_models(server.behind, {"loras/a": b"a"}))
        with running(cache):
            assert cache._process is not None
            children = Path(f"/proc/{cache._process.pid}/task/{cache._process.pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
            wait_until(lambda: cache.is_away(share))
            wait_until(lambda: cache.is_present(share))
