# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that models come into memory once, as the account that owns their share, and what is returned of them."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.modules import warm_models

from tests.support.module_runner import run_module
from tests.support.ollama_models import write_model
from tests.support.page_cache import write_cold

SIZE = 1 << 20
PATH = "checkpoints/painter.safetensors"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")


class Host:
    """A host with two shares of models."""

    def __init__(self, root: Path) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.root, self.owner = root, getpass.getuser()
        for name in ("comfyui_models", "ollama_models"):
            (root / name).mkdir()
            marker = {"studio_id": "studio", "share": name, "share_id": "1"}
            (root / name / ".noslop-share").write_text(json.dumps(marker))
        write_cold(root / "comfyui_models" / PATH, os.urandom(SIZE))
        self.blobs = write_model(root / "ollama_models", "painter:1b", os.urandom(SIZE))

    def run(self, *models: dict[str, Any], check: bool = False, **more: object) -> dict[str, Any]:
        shares = [
            {"name": name, "path": str(self.root / name), "owner": self.owner}
            for name in ("comfyui_models", "ollama_models")
        ]
        listed = list(models or [{"path": PATH}, {"ollama": "painter:1b"}])
        return run_module(
            "warm_models", {"studio_id": "studio", "shares": shares, "models": listed, **more}, check=check
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def states(answer: dict[str, Any]) -> list[str]:
    return [row["state"] for row in answer["warm"]]


def test_models_are_read_and_a_second_run_changes_nothing(host: Host) -> None:
    predicted = host.run(check=True)
    assert (predicted["changed"], states(predicted)) == (True, ["cold", "cold"])
    first = host.run()
    assert (first["changed"], states(first)) == (True, ["warm", "warm"])
    assert [(row["size"], row["resident"], row["read"]) for row in first["warm"]] == [
        (size, size, size) for size in (SIZE, host.blobs)
    ]
    for check in (False, True):
        second = host.run(check=check)
        assert (second["changed"], states(second)) == (False, ["warm", "warm"])


def test_model_without_room_is_not_read_and_is_no_failure(host: Host) -> None:
    answer = host.run(memory_percent=0)
    assert (answer["changed"], states(answer)) == (False, ["no_room", "no_room"])
    assert [row["resident"] for row in answer["warm"]] == [0, 0]
    assert states(host.run(memory_percent=0, check=True)) == ["no_room", "no_room"]


def test_model_that_is_not_fetched_yet_is_no_failure(host: Host) -> None:
    answer = host.run({"path": "loras/none"}, {"path": PATH})
    assert states(answer) == ["missing", "warm"]
    assert "noslop-driver models pull" in answer["warm"][0]["message"]


def test_share_of_another_studio_is_not_read(host: Host) -> None:
    answer = host.run(studio_id="other")
    assert "it belongs to the studio 'studio'" in answer["msg"]
    assert host.run(studio_id="other", check=True)["warm"] == [], "as on a fresh host"


def test_account_that_does_not_exist_is_named(host: Host) -> None:
    host.owner = "noslop-none-such"
    assert "There is no account noslop-none-such here. Run the playbook storage first." in host.run()["msg"]


@root_only
def test_files_are_read_as_the_account_that_owns_the_share(host: Host) -> None:
    host.owner = "news"
    answer = host.run()
    assert states(answer) == ["failed", "failed"]
    assert "shows only its owner" in answer["msg"]
    for path in host.root.rglob("*"):
        os.chown(path, 9, 9)
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert states(host.run()) == ["warm", "warm"]


def test_documented_example_runs(host: Host) -> None:
    (task,) = yaml.safe_load(warm_models.EXAMPLES)
    assert states(host.run(*task["noslop.studio.warm_models"]["models"])) == ["warm"]


def test_timed_models_are_read_without_memory_first(host: Host) -> None:
    host.run()
    answer = host.run({"path": PATH}, {"ollama": "painter:1b"}, {"path": "checkpoints/none.safetensors"}, state="timed")
    assert answer["changed"] is False
    file, model, missing = answer["times"]
    assert [(row["size"], row["kept_bytes"], row["message"]) for row in (file, model)] == [
        (SIZE, 0, ""),
        (host.blobs, 0, ""),
    ]
    assert all(row["cold_s"] > 0 and row["warm_s"] > 0 for row in (file, model))
    assert "checkpoints/none.safetensors cannot be read" in missing["message"]
    assert states(host.run(check=True)) == ["warm", "warm"]


def test_evicted_models_are_not_in_memory(host: Host) -> None:
    host.run()
    assert host.run(check=True, state="evicted")["changed"] is False
    assert states(host.run(check=True)) == ["warm", "warm"]
    host.run(state="evicted")
    assert states(host.run(check=True)) == ["cold", "cold"]
