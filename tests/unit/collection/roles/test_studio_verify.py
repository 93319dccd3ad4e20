# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that verification expects what the storage roles do, with their defaults and with tuned variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[4]
ROLES = REPOSITORY / "collections/ansible_collections/noslop/studio/roles"
#: The variable of verification to the variable of the role that it follows.
FOLLOWED = {
    "studio_verify_read_ahead_kb": "nfs_client_read_ahead_kb",
    "studio_verify_mount_options": "nfs_client_options",
    "studio_verify_models_options": "nfs_client_models_options",
    "studio_verify_quiet_units": "nfs_client_quiet_units",
    "studio_verify_server_threads": "nfs_server_threads",
}
CLIENTS = ["10.0.0.2", "10.0.0.3", "10.0.0.4"]


#: Values that a user gives to the roles' variables.
TUNED: dict[str, object] = {
    "nfs_client_read_ahead_kb": 4096,
    "nfs_client_options": "vers=4.1,nosuid,nodev",
    "nfs_client_models_options": "acdirmin=2,acdirmax=5",
    "nfs_client_quiet_units": [],
    "nfs_server_threads": 8,
}


def evaluate(directory: Path, names: Iterable[str], roles: Iterable[str], **variables: object) -> dict[str, Any]:
    """Return the values of variables in a play with the defaults of these roles and further variables."""
    result = directory / "result.json"
    values = "{" + ", ".join(f"'{name}': {name}" for name in names) + "}"
    play = {
        "name": "A play",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROLES / role / "defaults/main.yml") for role in roles],
        "tasks": [{"ansible.builtin.copy": {"content": "{{ " + values + " | to_json }}", "dest": str(result)}}],
    }
    (directory / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "--extra-vars", json.dumps(variables), str(directory / "play.yml")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    parsed: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return parsed


def test_defaults_are_those_of_the_roles(tmp_path: Path) -> None:
    own = evaluate(tmp_path, FOLLOWED, ["studio_verify"], studio_verify_clients=CLIENTS)
    roles = evaluate(tmp_path, FOLLOWED.values(), ["nfs_client", "nfs_server"], nfs_server_clients=CLIENTS)

    assert own == {name: roles[followed] for name, followed in FOLLOWED.items()}


def test_variables_of_the_roles_are_expected(tmp_path: Path) -> None:
    values = evaluate(tmp_path, FOLLOWED, ["studio_verify"], **TUNED)

    assert values == {own: TUNED[role] for own, role in FOLLOWED.items()}


def test_server_follows_the_servers_helper_units(tmp_path: Path) -> None:
    tuned = {"nfs_server_quiet_units": [], "nfs_client_quiet_units": ["rpcbind.socket"]}

    values = evaluate(tmp_path, ["studio_verify_quiet_units"], ["studio_verify"], studio_verify_server=True, **tuned)

    assert values == {"studio_verify_quiet_units": []}
