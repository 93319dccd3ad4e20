# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy a studio on the lab's machines with plain Ansible: an inventory, and `ansible-playbook`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.lab.machines import CONTROLLER, LAB, ROOT, Machine, list_machines

WORKERS = ("worker1", "worker2")


@dataclass(frozen=True)
class PlainStudio:
    """The machines of a studio, its inventory, and the variables of all hosts."""

    machines: dict[str, Machine]
    inventory: Path
    variables: Mapping[str, Any]

    def play(self, name: str, *words: str, **variables: object) -> tuple[int, str]:
        """Run a playbook of the collection with more variables. Return the exit code and what was printed."""
        values = {**self.variables, **variables}
        self.inventory.joinpath("group_vars", "all.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
        done = subprocess.run(
            [
                "ansible-playbook",
                "--inventory",
                str(self.inventory),
                "--private-key",
                str(LAB / "id_ed25519"),
                "--become-password-file",
                str(LAB / "sudo_password"),
                f"noslop.studio.{name}",
                *words,
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout, done.stderr)
        return done.returncode, done.stdout + done.stderr


def write_inventory(directory: Path, groups: Mapping[str, Sequence[str]]) -> None:
    """Write the hosts of a studio: the server has the storage, the workers are its clients, and services by group."""
    (directory / "group_vars").mkdir()
    machines = list_machines()
    members = {"storage_server": ["server"], "storage_clients": WORKERS, **groups}
    tree = {
        group: {"hosts": {name: {"ansible_host": machines[name].address} for name in names}}
        for group, names in members.items()
    }
    (directory / "hosts.yml").write_text(yaml.safe_dump(tree), encoding="utf-8")


#: The variables of every studio here.
VARIABLES: Mapping[str, Any] = {
    "noslop_studio_id": "real",
    "noslop_min_free_gb": 1,
    "noslop_allowed_networks": [CONTROLLER],
    "ansible_user": "artist",
    "ansible_ssh_common_args": f"-o UserKnownHostsFile={LAB}/machines/known_hosts",
    "ansible_python_interpreter": "/usr/bin/python3",
}
