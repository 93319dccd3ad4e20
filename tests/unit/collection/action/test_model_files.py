# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a task follows a download that runs by itself, and that tokens stay secret."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import progress

from tests.support.lab.machines import ROOT
from tests.support.model_server import ModelServer, make_safetensors, serving_models
from tests.support.plays import local_inventory, write_playbook

CONTENT = make_safetensors(3_000_000, "model")
NAME = "loras/model.safetensors"
TOKEN = "very-secret-token"  # noqa: S105


class Play:
    """A play with the task, on this computer."""

    def __init__(self, root: Path, server: ModelServer) -> None:
        self.root, self.share, self.server = root, root / "models", server
        self.share.mkdir()
        marker = {"studio_id": "studio", "share": "comfyui_models", "share_id": "1"}
        (self.share / ".noslop-share").write_text(json.dumps(marker))
        self.token = root / "token"
        self.token.write_text(f"{TOKEN}\n")
        self.token.chmod(0o600)

    def start(self, **more: object) -> subprocess.Popen[str]:
        model = {"path": NAME, "url": self.server.url("model"), "sha256": hashlib.sha256(CONTENT).hexdigest()}
        arguments: dict[str, Any] = {
            "path": str(self.share),
            "account": getpass.getuser(),
            "studio_id": "studio",
            "models": [model],
            "token_files": {self.server.url("").rstrip("/"): str(self.token)},
            "run_directory": str(self.root / "run"),
            "record_directory": str(self.root / "record"),
            "progress_file": str(self.root / "progress.json"),
            **more,
        }
        playbook = write_playbook(self.root / "play", {"name": "Fetch", "noslop.studio.model_files": arguments})
        inventory = local_inventory(self.root / "inventory", ansible_async_dir=str(self.root / "async"))
        return subprocess.Popen(
            [sys.executable, "-m", "ansible", "playbook", "-vvv", "-i", str(inventory), str(playbook)],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, **more: object) -> tuple[int, str]:
        process = self.start(**more)
        output, _ = process.communicate()
        return process.returncode, output


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Return what a process prints until a line has this word."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if word in line:
            return text
    raise AssertionError(f"{word!r} was not printed:\n{text}")


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with serving_models() as server:
        server.add("model", CONTENT, token=TOKEN)
        yield Play(tmp_path, server)


@pytest.mark.slow
@pytest.mark.long
def test_download_outlives_its_controller_and_the_next_run_follows_it(play: Play) -> None:
    gate = play.server.files["model"].gate = threading.Event()
    try:
        first = play.start()
        read_until(first, "loras/model.safetensors: ")
        first.kill()
        first.communicate()
        assert progress.read_holder(str(play.root / "run")) is not None
        second = play.start()
        text = read_until(second, "loras/model.safetensors: ")
        (row,) = json.loads((play.root / "progress.json").read_text())
        assert (row["state"], row["size"]) == ("fetching", len(CONTENT))
    finally:
        gate.set()
    text += second.communicate()[0]
    assert second.returncode == 0, text
    assert "changed=0" in text, "the run before fetched it"
    assert (play.share / NAME).read_bytes() == CONTENT
    assert play.server.sent["model"] == len(CONTENT)
    assert TOKEN not in text
    left = [path for path in play.root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert left == [play.token]


def test_token_that_others_may_read_is_refused(play: Play) -> None:
    play.token.chmod(0o644)
    code, text = play.run()
    assert code != 0
    assert "others may read it" in text
    assert play.server.requests == []
    assert TOKEN not in text
