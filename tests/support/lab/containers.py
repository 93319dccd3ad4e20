# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the lab's containers: bare hosts with systemd, for tests that need no kernel of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.support.lab.machines import LAB, ROOT, Machine

INVENTORY = LAB / "containers" / "inventory.yml"
#: The controller's address as the containers see it (lab/vars/main.yml).
GATEWAY = "10.77.43.1"


def run_lab_playbook(playbook: Path, *words: str) -> str:
    """Run a playbook. Return what it printed; fail the test with that when the playbook fails."""
    command = ["ansible-playbook", str(playbook), *words]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{playbook.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def running_containers() -> Iterator[dict[str, Machine]]:
    """Start bare containers, and yield them by name. Remove them afterwards, with everything in them."""
    lab = ROOT / "molecule" / "default"
    try:
        run_lab_playbook(lab / "reset.yml")
        inventory = yaml.safe_load(INVENTORY.read_text())["lab_containers"]
        user = inventory["vars"]["ansible_user"]
        yield {name: Machine(name, host["ansible_host"], user) for name, host in inventory["hosts"].items()}
    finally:
        run_lab_playbook(lab / "destroy.yml")
