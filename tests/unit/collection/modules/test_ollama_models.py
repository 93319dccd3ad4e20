# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a daemon pulls what it does not list, with the lab's stand-in for Ollama."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.modules import ollama_models

from tests.support.daemons import STANDINS, Daemon
from tests.support.lab.machines import wait_for
from tests.support.module_runner import run_module


class Ollama:
    """A running daemon, and the module on its host."""

    def __init__(self, root: Path, daemon: Daemon) -> None:
        self.root, self.daemon = root, daemon
        self.gate = root / "gate"

    def run(self, *names: str, check: bool = False, **more: object) -> dict[str, Any]:
        arguments = {"models": list(names), "port": self.daemon.port, "run_directory": str(self.root / "run")}
        return run_module("ollama_models", {**arguments, **more}, check=check)

    def verify(self, *names: str) -> dict[str, Any]:
        return self.run(*names, state="verified", path=str(self.root / "models"), account=getpass.getuser())

    def listed(self) -> list[str]:
        return sorted(model["name"] for model in self.daemon.request("GET", "/api/tags").json["models"])


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[Ollama]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(STANDINS),
        "HOME": str(tmp_path),
        "OLLAMA_HOST": "127.0.0.1:0",
        "OLLAMA_MODELS": str(tmp_path / "models"),
        "OLLAMA_STANDIN_PULL_GATE": str(tmp_path / "gate"),
    }
    command = [sys.executable, "-c", "import sys; from ollama_standin.cli import main; sys.exit(main(['serve']))"]
    with Daemon(command, r"Listening on \S+:(\d+)", environment) as daemon:
        yield Ollama(tmp_path, daemon)


def states(answer: dict[str, Any]) -> list[str]:
    return [row["state"] for row in answer["models"]]


def test_missing_models_are_pulled_and_a_second_run_changes_nothing(ollama: Ollama) -> None:
    ollama.gate.touch()
    names = ("small:1b", "other:latest")
    assert states(ollama.run(*names, check=True)) == ["missing", "missing"]
    assert ollama.listed() == []
    first = ollama.run(*names)
    assert (first["changed"], states(first)) == (True, ["fetched", "fetched"])
    assert all(row["size"] and row["sha256"] for row in first["models"])
    assert ollama.listed() == sorted(names)
    second = ollama.run(*names)
    assert (second["changed"], states(second)) == (False, ["present", "present"])


def test_model_that_does_not_exist_fails_and_the_others_come(ollama: Ollama) -> None:
    ollama.gate.touch()
    answer = ollama.run("does-not-exist:latest", "small:1b")
    assert answer["failed"]
    assert states(answer) == ["failed", "fetched"]
    assert "Ollama cannot pull does-not-exist:latest" in answer["msg"]


def test_second_run_waits_for_the_first_and_shows_its_progress(ollama: Ollama) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(ollama.run, "small:1b") for _ in range(2)]
        try:
            state = wait_for("the pull", lambda: fetching(ollama), timeout_s=60)
        finally:
            ollama.gate.touch()
        assert state["received"] < state["size"]
        answers = [run.result() for run in runs]
    assert sorted(states(answer)[0] for answer in answers) == ["fetched", "present"]
    assert sorted(answer["followed"] for answer in answers) == [False, True]


def fetching(ollama: Ollama) -> dict[str, Any] | None:
    rows = ollama.run(state="progress")["models"]
    return next((row for row in rows if row["state"] == "fetching"), None)


def test_verification_reads_all_blobs_and_names_the_damaged_one(ollama: Ollama) -> None:
    ollama.gate.touch()
    names = ("small:1b", "other:latest")
    ollama.run(*names)
    assert states(ollama.verify(*names)) == ["verified", "verified"]
    manifest = json.loads((ollama.root / "models/manifests/registry.ollama.ai/library/small/1b").read_bytes())
    blob = ollama.root / "models/blobs" / manifest["layers"][0]["digest"].replace(":", "-")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    answer = ollama.verify(*names, "third:latest")
    assert states(answer) == ["failed", "verified", "failed"]
    assert f"small:1b is damaged: {blob}" in answer["msg"]
    assert "third:latest is not there" in answer["msg"]
    assert states(ollama.run(*names)) == ["present", "present"], "Ollama itself does not see it"


def test_daemon_that_is_away_is_named(tmp_path: Path) -> None:
    answer = run_module("ollama_models", {"models": ["a:b"], "port": 9, "run_directory": str(tmp_path / "run")})
    assert "Ollama does not answer on port 9" in answer["msg"]


def test_documented_example_runs(ollama: Ollama) -> None:
    ollama.gate.touch()
    (task,) = yaml.safe_load(ollama_models.EXAMPLES)
    (names,) = task["noslop.studio.ollama_models"].values()
    assert states(ollama.run(*names)) == ["fetched"]
