# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a studio whose hosts are real SSH servers, with an inventory that a user has edited."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.models import Candidate
from tests.support.sshd import SshServer

CLOSED = ("127.9.9.1", 1)
"""An address and a port at which nothing listens."""

HOSTS = """\
# Our machines.
all:
  hosts:
{entries}
  children:
    storage_server:
      hosts:
        server:
    storage_clients:  # Mount them over the network.
      hosts:
        worker:
        # the loud one
        worker2:
    comfyui:
      hosts:
        worker:
"""
ENTRY = """\
    {name}:
      ansible_host: {address}   # by DHCP
      ansible_port: {port}
      ansible_user: {user}
      noslop_address: {address}
"""


class SshStudio:
    """A studio of a server and two workers. Those without an SSH server do not answer."""

    def __init__(self, path: Path, servers: Mapping[str, SshServer]) -> None:
        self.directory = StudioDirectory(path)
        self.servers = servers
        path.mkdir(parents=True)
        self.known_hosts = KnownHosts(self.directory.known_hosts)
        entries = []
        for name in ("server", "worker", "worker2"):
            server = servers.get(name)
            address, port = (server.address, server.port) if server else CLOSED
            user = server.user if server else "artist"
            entries.append(ENTRY.format(name=name, address=address, port=port, user=user))
            keys = [server.public_key] if server else [f"ssh-ed25519 {name.upper():A<68}"]
            self.known_hosts.accept([Candidate(address=address, port=port, host_keys=keys, status="open")])
        (path / "hosts.yml").write_text(HOSTS.format(entries="".join(entries).rstrip()), encoding="utf-8")
        key = next(str(server.client_key) for server in servers.values())
        variables = {
            "ansible_python_interpreter": sys.executable,
            "ansible_ssh_private_key_file": key,
            "ansible_ssh_common_args": "-o 'UserKnownHostsFile=\"{{ inventory_dir }}/.noslop/known_hosts\"' "
            "-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes",
            "noslop_studio_id": "abc",
        }
        group_vars = path / "group_vars/all"
        group_vars.mkdir(parents=True)
        (group_vars / "connection.yml").write_text(json.dumps(variables), encoding="utf-8")
        (group_vars / "studio.yml").write_text(
            "noslop_studio_id: abc\nnoslop_models: []  # worker2 has room\nnoslop_users: [worker2]\n", encoding="utf-8"
        )
        self.directory.make_state_dir()

    @property
    def hosts(self) -> str:
        """Return the text of the inventory."""
        return (self.directory.path / "hosts.yml").read_text(encoding="utf-8")


def refuse_commands(directory: Path) -> list[str]:
    """Return the lines of sshd_config with which every login succeeds, and every command fails and does nothing."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "refuse"
    program.write_text("#!/bin/sh\necho refused >&2\nexit 1\n", encoding="ascii")
    program.chmod(0o755)
    return [f"ForceCommand {program}"]
