# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the files of an inventory, with comments for the user who edits them. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from noslop_driver.choices import Role
from noslop_driver.inventory import studio_yml
from noslop_driver.models import Endpoint, Host, Plan, SshOptions

GROUPS: tuple[Role, ...] = get_args(Role)
PYTHON = "/usr/bin/python3"
"""The system's own Python on every supported system. It has the bindings for apt; others that Ansible might detect
first (pyenv's, conda's) do not."""

BECOME_METHOD = "noslop.studio.sudo"
_NO_FORWARDING = "-o ForwardAgent=no -o ForwardX11=no -o ClearAllForwardings=yes -o GSSAPIDelegateCredentials=no"
_KEYS_ONLY = (
    "-o BatchMode=yes -o PreferredAuthentications=publickey -o PasswordAuthentication=no "
    "-o KbdInteractiveAuthentication=no -o GSSAPIAuthentication=no -o HostbasedAuthentication=no"
)
"""ssh_config(5), for hosts that the user has not confirmed yet: the user's own ~/.ssh/config may allow more."""
_PINNED_KEYS_ONLY = "-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o VerifyHostKeyDNS=no"
"""~/.ssh/config may accept keys by DNS, before known_hosts is read."""
_ONE_KEY = "-o IdentitiesOnly=yes"
"""Without it, ssh offers every key of the agent first, and a server ends the login after some (MaxAuthTries)."""
_SSH_PROGRAMS = ("ssh", "sftp", "scp")

_GROUP_COMMENTS: dict[Role, str] = {
    "storage_server": "Keeps the shared directories on its disks.",
    "storage_clients": "Mount them over the network.",
    "ollama": "Run Ollama.",
    "comfyui": "Run ComfyUI.",
    "backend": "Keeps the projects' files in order; best on the storage server.",
}


@dataclass(frozen=True)
class Connection:
    """The login options that are the same for every host."""

    ssh_key: Path | None = None


def render_hosts(plan: Plan, studio: str, hosts: Sequence[Host], *, local: bool) -> str:
    """Render hosts and groups."""
    lines = [
        "---",
        f"# The hosts of the studio {studio}, and what each of them does. Edit it and deploy again:",
        "# the driver never writes over your changes.",
        "all:",
        "  hosts:",
    ]
    for host in hosts:
        lines.append(f"    {studio_yml.format_value(host.name)}:")
        lines += [
            f"      {name}: {studio_yml.format_value(value)}" for name, value in _list_host_variables(host, local=local)
        ]
    lines.append("  children:")
    names = {host.name for host in hosts}
    for group in GROUPS:
        members = [host.name for host in plan.members(group) if host.name in names]
        lines.append(f"    {group}:  # {_GROUP_COMMENTS[group]}")
        lines.append("      hosts:" if members else "      hosts: {}")
        lines += [f"        {studio_yml.format_value(name)}:" for name in members]
    return "\n".join(lines) + "\n"


def render_connection(connection: Connection, *, local: bool) -> str:
    """Render the variables of the connection."""
    lines = ["---", "# The system's own Python: it has the bindings for apt.", f"ansible_python_interpreter: {PYTHON}"]
    lines += ["# sudo, and sudo-rs too.", f"ansible_become_method: {BECOME_METHOD}"]
    if local:
        return "\n".join(lines) + "\n"
    lines += [
        "# Only host keys that the user has accepted are valid (.noslop/known_hosts).",
        "ansible_ssh_common_args: >-",
        """  -o 'UserKnownHostsFile="{{ inventory_dir }}/.noslop/known_hosts"'""",
        f"  {_PINNED_KEYS_ONLY}" + (f" {_ONE_KEY}" if connection.ssh_key else ""),
    ]
    if connection.ssh_key:
        path = str(connection.ssh_key.expanduser().absolute())
        lines += [
            "# The private key for these hosts.",
            f"ansible_ssh_private_key_file: {studio_yml.format_value(path)}",
        ]
    return "\n".join(lines) + "\n"


def render_bootstrap_inventory(
    hosts: Iterable[Endpoint], user: str, ssh_key: Path | None, known_hosts: Path, *, password: bool = False
) -> str:
    """Render the bootstrap inventory, for hosts that are no members yet.

    Args:
        hosts: the hosts.
        user: the account to log in with, on hosts without one of their own.
        ssh_key: the private key to log in with; None: the hosts' own, else the default keys of ssh.
        known_hosts: the known_hosts file with the keys that were accepted.
        password: True if ssh may send a password. Otherwise it offers public keys only.
    """
    authentication = "" if password else f" {_KEYS_ONLY}"
    authentication += f" {_ONE_KEY}" if ssh_key else ""
    variables: dict[str, Any] = {
        "ansible_user": user,
        "ansible_python_interpreter": PYTHON,
        "ansible_ssh_common_args": (
            f"-o 'UserKnownHostsFile=\"{known_hosts.absolute()}\"' {_PINNED_KEYS_ONLY} {_NO_FORWARDING}{authentication}"
        ),
    }
    if ssh_key:
        variables["ansible_ssh_private_key_file"] = str(ssh_key.expanduser().absolute())
    entries = {
        host.name: {
            "ansible_host": host.address,
            "ansible_port": host.port,
            **({"ansible_user": host.user} if host.user else {}),
            **list_ssh_variables(host.ssh),
        }
        for host in hosts
    }
    return json.dumps({"all": {"hosts": entries, "vars": variables}}, indent=2)


def render_local_bootstrap_inventory(name: str) -> str:
    """Render the bootstrap inventory of the computer that the driver runs on."""
    variables = {"ansible_connection": "local", "ansible_python_interpreter": PYTHON}
    return json.dumps({"all": {"hosts": {name: variables}}}, indent=2)


def list_ssh_variables(ssh: SshOptions) -> dict[str, str]:
    """Return the variables of Ansible for the options of ssh for one host; `read_ssh_options` reads them.

    The arguments stand in the variables of each program, because `ansible_ssh_common_args` of the host would replace
    the studio's, with its known_hosts; and `ansible_ssh_private_key_file` of the host the studio's key.
    """
    arguments = list_proxy_arguments(ssh)
    arguments += [word for key in ssh.identity_files for word in ("-o", f'IdentityFile="{key}"')]
    arguments += ["-o", "IdentitiesOnly=yes"] if ssh.identity_files and ssh.identities_only else []
    text = shlex.join(arguments)
    return {f"ansible_{program}_extra_args": text for program in _SSH_PROGRAMS if text}


def read_ssh_options(variables: Mapping[str, Any]) -> SshOptions:
    """Return the options of ssh in the variables of a host. Arguments of other options are left out."""
    text = str(variables.get("ansible_ssh_extra_args") or "")
    try:
        words = shlex.split(text)
    except ValueError:
        return SshOptions()
    values: dict[str, list[str]] = {}
    for word in words:
        name, _equals, value = word.removeprefix("-o").partition("=")
        values.setdefault(name.lower(), []).append(value)
    return SshOptions(
        identity_files=[path.strip('"') for path in values.get("identityfile", [])],
        identities_only=values.get("identitiesonly", [""])[0] == "yes",
        proxy_jump=values.get("proxyjump", [""])[0],
        proxy_command=values.get("proxycommand", [""])[0],
    )


def list_proxy_arguments(ssh: SshOptions) -> list[str]:
    """Return the arguments of ssh with which it connects through the host's proxy; none without one."""
    if ssh.proxy_jump:
        return ["-o", f"ProxyJump={ssh.proxy_jump}"]
    return ["-o", f"ProxyCommand={ssh.proxy_command}"] if ssh.proxy_command else []


def _list_host_variables(host: Host, *, local: bool) -> list[tuple[str, Any]]:
    if local:
        return [("ansible_connection", "local"), ("ansible_host", host.address), ("noslop_address", host.address)]
    return [
        ("ansible_host", host.address),
        ("ansible_port", host.port),
        ("ansible_user", host.user),
        ("noslop_address", host.address),
        *list_ssh_variables(host.ssh).items(),
    ]
