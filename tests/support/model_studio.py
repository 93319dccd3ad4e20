# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A studio of one host, whose share of models lies in a directory of the test."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.models import StudioSettings
from tests.support.driver_cli import Done, run_json
from tests.support.model_server import ModelServer, make_safetensors
from tests.support.plays import local_inventory, ssh_inventory
from tests.support.sshd import SshServer

CONTENTS = {name: make_safetensors(50_000, name) for name in ("one", "two")}


def make_variables(root: Path, share: Path) -> dict[str, object]:
    """Return variables that keep the playbook `models` within a directory of the test.

    Args:
        root: the directory.
        share: the share of ComfyUI's models.
    """
    return {
        "studio_models_account": getpass.getuser(),
        "studio_models_ollama_owner": getpass.getuser(),
        "studio_models_run_directory": str(root / "run"),
        "studio_models_record_directory": str(root / "record"),
        "noslop_models_daily_gb": 0,
        "model_jobs_shares": [{"name": "comfyui_models", "path": str(share), "owner": getpass.getuser()}],
        "model_jobs_program_directory": str(root / "program"),
        "model_jobs_units_directory": str(root / "units"),
        "ansible_become": False,
        "ansible_async_dir": str(root / "async"),
    }


class Studio(StudioDirectory):
    """A studio of this computer alone, whose share lies in a directory of the test."""

    def __init__(self, root: Path, server: ModelServer, far: SshServer | None = None) -> None:
        self.root, self.share, self.server = root, root / "storage/comfyui/models", server
        self.share.mkdir(parents=True)
        marker = {"studio_id": "abc", "share": "comfyui_models", "share_id": "1"}
        (self.share / ".noslop-share").write_text(json.dumps(marker))
        ollama = root / "storage/ollama/models"
        ollama.mkdir(parents=True)
        (ollama / ".noslop-share").write_text(json.dumps({**marker, "share": "ollama_models"}))
        variables = make_variables(root, self.share)
        if far:
            inventory = ssh_inventory(root / "inventory", far, known_hosts=root / "known_hosts", **variables)
        else:
            inventory = local_inventory(root / "inventory", ["here"], **variables)
        super().__init__(inventory)
        name = "far" if far else "here"
        groups: dict[str, Any] = {group: {"hosts": {name: {}}} for group in ("storage_server", "comfyui")}
        (self.path / "groups.yml").write_text(json.dumps(groups), encoding="utf-8")
        self.make_state_dir()
        self.save(*CONTENTS)

    def save(self, *names: str, **more: object) -> None:
        """Write a catalogue with these models."""
        models = [
            {"folder": "loras", "file": f"{name}.safetensors", "url": self.server.url(name), **more} for name in names
        ]
        root = str(self.share.parents[1])
        self.write_settings(StudioSettings(studio_id="abc", storage_root=root, storage_provider="local", models=models))

    def models(self, *words: str) -> tuple[dict[str, Any], Done]:
        return run_json("models", words[0], "--inventory", str(self.path), *words[1:])
