# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the playbook that copies models from one host to the storage server, on two addresses of this computer."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.lab.machines import ROOT
from tests.support.model_server import make_safetensors
from tests.support.plays import local_inventory

CONTENT = make_safetensors(100_000, "adopted")


def run_playbook(inventory: Path, **variables: str) -> str:
    words = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-vvv", "-i", inventory, ROOT / "playbooks/adopt_models.yml", *words],
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_models_of_another_host_are_listed_then_copied_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)  # an unprivileged account reads what belongs to root
    share, models = tmp_path / "share", tmp_path / "webui/models"
    share.mkdir()
    marker = {"studio_id": "abc", "share": "comfyui_models", "share_id": "1"}
    (share / ".noslop-share").write_text(json.dumps(marker))
    (models / "Lora").mkdir(parents=True)
    (models / "Lora/one.safetensors").write_bytes(CONTENT)
    inventory = local_inventory(
        tmp_path / "inventory",
        ["server", "worker"],
        ansible_become=False,
        ansible_async_dir=str(tmp_path / "async"),
        noslop_studio_id="abc",
        studio_models_dir=str(share),
        studio_models_account=getpass.getuser(),
        studio_models_run_directory=str(tmp_path / "run"),
        studio_models_record_directory=str(tmp_path / "record"),
        studio_models_adopt_run_directory=str(tmp_path / "run_adopt"),
        studio_models_adopt_record_directory=str(tmp_path / "record_adopt"),
    )
    groups = {
        "storage_server": {"hosts": {"server": {"noslop_address": "127.0.0.1"}}},
        "comfyui": {"hosts": {"worker": {"noslop_address": "127.0.0.2"}}},
    }
    (inventory / "groups.yml").write_text(json.dumps(groups))
    variables = {"studio_models_adopt_host": "worker", "studio_models_adopt_path": str(models)}
    output = run_playbook(inventory, **variables)
    assert "new Lora/one.safetensors -> loras/one.safetensors (100" in output
    assert not (share / "loras").exists()

    output = run_playbook(inventory, **variables, studio_models_adopt_copy="true")

    assert (share / "loras/one.safetensors").read_bytes() == CONTENT
    assert "http://127.0.0.2:" in output
    assert not re.search(r'token\\?": \\?"[^"\\]', output), "the secret is in no output"
    again = run_playbook(inventory, **variables, studio_models_adopt_copy="true")
    assert re.search(r"server +: ok=\d+ +changed=0", again), again
    assert (models / "Lora/one.safetensors").read_bytes() == CONTENT
