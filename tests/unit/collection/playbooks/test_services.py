# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test in which batches the hosts of a service get another version of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PLAYBOOKS = Path(__file__).parents[4] / "collections/ansible_collections/noslop/studio/playbooks"
HOSTS = ("one", "two", "three", "four", "five")


def read_plays(name: str) -> list[dict[str, Any]]:
    """Return the plays of a playbook."""
    plays: list[dict[str, Any]] = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text("utf-8"))
    return plays


def run_in_batches(directory: Path, service: str, switched: dict[str, list[str]], failing: str = "") -> list[list[str]]:
    """Run the play of a service with a task of its own. Return the hosts of each batch in which the task passed.

    Args:
        directory: where files go.
        service: ollama or comfyui.
        switched: services that get another version, by host.
        failing: the host on which the task fails.
    """
    (*_read, group) = read_plays("versions")[0]["tasks"]
    (play,) = (play for play in read_plays("services") if play.get("hosts") == service)
    own = {key: play[key] for key in ("hosts", "vars", "serial", "max_fail_percentage")}
    task = {"ansible.builtin.assert": {"that": [f"inventory_hostname != '{failing}'"]}}
    local = {"connection": "local", "gather_facts": False}
    plays = [{"hosts": "all", **local, "tasks": [group]}, {**own, **local, "name": "Batch", "tasks": [task]}]
    hosts = {name: {"studio_versions": {"switched": switched.get(name, [])}} for name in HOSTS}
    (directory / "hosts.yml").write_text(json.dumps({service: {"hosts": hosts}}), encoding="utf-8")
    (directory / "play.yml").write_text(json.dumps(plays), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", directory / "hosts.yml", directory / "play.yml"],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    batches = done.stdout.partition("PLAY RECAP")[0].split("PLAY [Batch]")[1:]
    return [sorted(re.findall(r"(?m)^ok: \[(\w+)\]", batch)) for batch in batches]


@pytest.mark.parametrize("service", [pytest.param("ollama", marks=pytest.mark.long), "comfyui"])
def test_another_version_is_tried_on_one_host_first(tmp_path: Path, service: str) -> None:
    assert run_in_batches(tmp_path, service, {}) == [sorted(HOSTS)]
    other = {"two": ["ollama", "comfyui"]}
    assert run_in_batches(tmp_path, service, other) == [["one"], ["two"], ["five", "four", "three"]]
    assert run_in_batches(tmp_path, service, other, failing="one") == [[]], "the others keep what works"
    assert run_in_batches(tmp_path, service, {"two": ["backend"]}) == [sorted(HOSTS)]
