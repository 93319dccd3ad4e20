# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write small playbooks and inventories for tests that run Ansible."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.sshd import SshServer

RETURN_RESULT_MODULE = """\
#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(argument_spec={"result": {"type": "dict"}}, supports_check_mode=True)
module.exit_json(**module.params["result"])
"""
"""A module that returns its argument `result`, as roles of the studio return reports and lists."""


def write_playbook(
    directory: Path, *tasks: dict[str, Any], name: str = "play.yml", hosts: str = "all", **keywords: object
) -> Path:
    """Write a playbook of one play without facts (JSON is YAML). Its tasks may use the module `return_result`."""
    directory.mkdir(parents=True, exist_ok=True)
    library = directory / "library"
    library.mkdir(exist_ok=True)
    (library / "return_result.py").write_text(RETURN_RESULT_MODULE, encoding="utf-8")
    play = {"name": "A play", "hosts": hosts, "gather_facts": False, "tasks": list(tasks), **keywords}
    path = directory / name
    path.write_text(json.dumps([play]), encoding="utf-8")
    return path


def local_inventory(directory: Path, hosts: Sequence[str] = ("here",), **variables: object) -> Path:
    """Write an inventory of hosts that are all this computer."""
    host_variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    return _write(directory, dict.fromkeys(hosts, host_variables))


def ssh_inventory(directory: Path, server: SshServer, *, known_hosts: Path, **variables: object) -> Path:
    """Write an inventory with the host `far`: this computer, through a real SSH server."""
    host_variables = {
        "ansible_host": server.address,
        "ansible_port": server.port,
        "ansible_user": server.user,
        "ansible_ssh_private_key_file": str(server.client_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts} -o StrictHostKeyChecking=yes",
        "ansible_python_interpreter": sys.executable,
        **variables,
    }
    known_hosts.write_text(f"[{server.address}]:{server.port} {server.public_key}\n", encoding="ascii")
    return _write(directory, {"far": host_variables})


def _write(directory: Path, hosts: dict[str, dict[str, object]]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    return directory
