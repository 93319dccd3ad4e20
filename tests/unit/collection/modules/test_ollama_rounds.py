# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that no blob is lost while stand-ins for Ollama start, pull and run beside the trash, on one directory."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import STANDINS, Daemon
from tests.support.lab.machines import wait_for
from tests.support.module_runner import run_module

#: NOSLOP_ROUNDS=100 for the long run.
ROUNDS = int(os.environ.get("NOSLOP_ROUNDS", "10"))
NAMES = ("small:1b", "other:latest", "third:7b")
#: What is this old counts as unused: far more than a pull of the stand-in pauses, and soon enough for a test.
UNUSED_S = 1.0

#: Why nothing may be moved now.
LATER = ("is a damaged manifest", "that has gone on lately")


class Studio:
    """Two hosts with a daemon each, and the storage server, on one directory of models."""

    def __init__(self, root: Path) -> None:
        self.root, self.models = root, root / "models"
        self.models.mkdir()
        marker = {"studio_id": "studio", "share": "ollama_models", "share_id": "1"}
        (self.models / ".noslop-share").write_text(json.dumps(marker))

    def start(self, host: str) -> Daemon:
        """Return a daemon of a host, with the setting that the role gives it."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(STANDINS),
            "HOME": str(self.root / host),
            "OLLAMA_HOST": "127.0.0.1:0",
            "OLLAMA_MODELS": str(self.models),
            "OLLAMA_NOPRUNE": "1",
        }
        command = [sys.executable, "-c", "import sys; from ollama_standin.cli import main; sys.exit(main(['serve']))"]
        return Daemon(command, r"Listening on \S+:(\d+)", environment)

    def restart(self, host: str) -> None:
        with self.start(host) as daemon:
            assert daemon.request("GET", "/api/tags").status == 200

    def pull(self, daemon: Daemon, name: str) -> dict[str, Any]:
        return run_module(
            "ollama_models", {"models": [name], "port": daemon.port, "run_directory": str(self.root / "run-first")}
        )

    def verify(self, daemon: Daemon) -> list[str]:
        """Compare all blobs of all models with their names; return the models."""
        listed = sorted(model["name"] for model in daemon.request("GET", "/api/tags").json["models"])
        answer = run_module(
            "ollama_models",
            {
                "models": listed,
                "port": daemon.port,
                "path": str(self.models),
                "account": getpass.getuser(),
                "state": "verified",
                "run_directory": str(self.root / "run-first"),
            },
        )
        assert [row["state"] for row in answer["models"]] == ["verified"] * len(listed), answer
        return listed

    def trash(self, state: str, *names: str) -> dict[str, Any]:
        arguments = {
            "path": str(self.models),
            "share": "ollama_models",
            "account": getpass.getuser(),
            "studio_id": "studio",
            "state": state,
            "names": list(names),
            "unused_hours": UNUSED_S / 3600,
            "run_directory": str(self.root / "run-server"),
        }
        return run_module("model_trash", arguments)

    def leave_unused(self, content: str) -> Path:
        """Write a blob that no model names, and wait until it is old."""
        path = self.models / "blobs" / f"sha256-{hashlib.sha256(content.encode()).hexdigest()}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        wait_for("its age", lambda: time.time() - path.stat().st_ctime > UNUSED_S, timeout_s=30)
        return path


@pytest.mark.slow
def test_no_blob_is_lost_beside_starts_pulls_and_the_trash(tmp_path: Path) -> None:
    studio, removed = Studio(tmp_path), 0
    with studio.start("first") as first, ThreadPoolExecutor(2) as pool:
        for number in range(ROUNDS):
            name, before = NAMES[number % len(NAMES)], NAMES[(number - 1) % len(NAMES)]
            unused = studio.leave_unused(f"unused {number}")
            pulled = pool.submit(studio.pull, first, name)
            restarted = pool.submit(studio.restart, "second")
            # While a manifest or a blob is being written nothing is moved, and the next time will do.
            for state, names in (("trashed", [before]), ("collected", [])):
                answer = studio.trash(state, *names)
                assert not answer.get("failed") or any(text in answer["msg"] for text in LATER), answer
                removed += sum(row["state"] == "trashed" for row in answer.get("models") or [])
            restarted.result()
            # The pull may have met a blob on its way out; another one brings what is missing.
            if pulled.result().get("failed"):
                assert not studio.pull(first, name).get("failed")
            assert not studio.trash("restored").get("failed")
            assert not studio.trash("collected").get("failed")
            assert not unused.exists(), number
            assert name in studio.verify(first), number
        for name in NAMES:
            studio.trash("restored", name)
        assert studio.verify(first) == sorted(NAMES)
    assert removed > ROUNDS
