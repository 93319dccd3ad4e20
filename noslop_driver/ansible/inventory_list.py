# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let Ansible read an inventory, with everything that it may have in it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from noslop_driver.ansible.config import make_environment
from noslop_driver.errors import UsageError
from noslop_driver.secrets import private_directory


def list_inventory(inventory: Path) -> dict[str, Any]:
    """Return the output of `ansible-inventory --list`: groups, hosts and their variables.

    Raises:
        UsageError: Ansible cannot read the inventory.
    """
    problem = "Ansible cannot read this inventory"
    listing: dict[str, Any] = json.loads(_run(inventory, problem, "ansible-inventory", "--list"))
    return listing


def select_hosts(inventory: Path, pattern: str) -> list[str]:
    """Return the hosts of an inventory that a host pattern selects.

    Raises:
        UsageError: Ansible cannot read the inventory, or the pattern selects none.
    """
    problem = f"no host is selected by {pattern}"
    lines = _run(inventory, problem, "ansible", "--list-hosts", "all", "--limit", pattern).splitlines()
    return [line.strip() for line in lines[1:] if line.strip()]


def _run(inventory: Path, problem: str, program: str, *arguments: str) -> str:
    with private_directory("noslop-list-") as private:
        done = subprocess.run(
            [program, "--inventory", str(inventory.resolve()), *arguments],
            env={**os.environ, **make_environment(inventory, private), "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise UsageError(f"{inventory}: {problem}. Ansible's message: {done.stderr.strip()}")
    return done.stdout
