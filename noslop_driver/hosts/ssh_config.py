# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the names of hosts as ssh does, with the user's ~/.ssh/config: `ssh -G` is the only parser of it.

A studio gets the resolved values, not the alias: its address is what the other hosts reach, what the accepted key
belongs to, and what `ansible-playbook` connects to for everybody who has the inventory.
"""

from __future__ import annotations

import functools
import getpass
import ipaddress
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import scan_targets
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import SSH_PORT

from noslop_driver.errors import DriverError, UsageError
from noslop_driver.inventory.directory import Member
from noslop_driver.inventory.render import list_proxy_arguments, read_ssh_options
from noslop_driver.models import SshOptions

_ACCOUNT = re.compile(r"[^\s@:/'\"\\-][^\s@:/'\"\\]*")
_SSH_CONNECTIONS = (None, "smart", "ssh", "ansible.builtin.ssh")
_NO_FILE = "/dev/null"


@dataclass(frozen=True)
class ResolvedHost:
    """A host that the user named, as ssh connects to it."""

    name: str
    """The name or address that the user wrote."""
    address: str
    """The address, or a name that has to be looked up."""
    port: int
    user: str
    """The account that was written before the name, or that ~/.ssh/config names; empty: neither does."""
    ssh: SshOptions
    origin: str = ""
    """The source of the name, where the user named only that."""

    @property
    def target(self) -> str:
        """Return address and port in the form of the flag `--host`."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def resolve(text: str, port: int = SSH_PORT, account: str = "", *, own_keys: bool = True) -> ResolvedHost:
    """Return how ssh connects to a host that is written as `[user@]name[:port]`.

    A port or an account that is written there comes before those of ~/.ssh/config, as on the command line of ssh. So
    does `account`, and `port` unless it is the default. Without `own_keys`, its private keys are left out.

    Raises:
        UsageError: the text is no host, or ssh cannot read its configuration.
        DriverError: this computer has no ssh.
    """
    user, at, rest = text.strip().rpartition("@")
    if at and not _ACCOUNT.fullmatch(user):
        raise UsageError(f"{text!r} is no host: {user!r} is no account. Write [ACCOUNT@]NAME[:PORT].")
    try:
        target = scan_targets.parse_host(rest, port)
        # A port that is written does not depend on the default.
        has_own_port = scan_targets.parse_host(rest, 1).port == scan_targets.parse_host(rest, 2).port
    except scan_targets.ScanTargetError as error:
        raise UsageError(str(error)) from error
    own_port = target.port if has_own_port or port != SSH_PORT else 0
    host = ask_ssh(target.hostname or target.address, own_port, user or account)
    if own_keys:
        return host
    return replace(host, ssh=host.ssh.model_copy(update={"identity_files": [], "identities_only": False}))


def ask_ssh(name: str, port: int = 0, user: str = "") -> ResolvedHost:
    """Return how ssh connects to a name, with a port and an account of the command line if they are given.

    Raises:
        UsageError: ssh refuses the name, or cannot read its configuration.
        DriverError: this computer has no ssh.
    """
    if name.startswith("-"):
        raise UsageError(f"{name!r} is no host: ssh would read it as an option.")
    arguments = [*(["-p", str(port)] if port else []), *(["-l", user] if user else [])]
    values = _run_ssh((*arguments, "--", name))
    return ResolvedHost(
        name=name,
        address=_get(values, "hostname") or name,
        port=int(_get(values, "port") or SSH_PORT),
        user=user or _find_own_account(values),
        ssh=_read_options(values, name),
    )


def resolve_members(members: Sequence[Member]) -> list[Member]:
    """Return the members with the address, the port and the account that ssh uses, where the inventory has none.

    An inventory may name a host by an alias of ~/.ssh/config: Ansible passes it to ssh.
    """
    return [_resolve_member(member) for member in members]


def get_options(member: Member) -> SshOptions:
    """Return what ssh uses to connect to a member, by the inventory, else by ~/.ssh/config.

    Raises:
        DriverError: this computer has no ssh.
    """
    written = read_ssh_options(member.variables)
    if written.proxy:
        return written
    try:
        return ask_ssh(member.address).ssh
    except UsageError:
        return written  # Ansible reports why it cannot connect


def list_batch_proxy(options: SshOptions, *variables: str) -> list[str]:
    """Return the arguments of ssh for a proxy that asks for nothing, and does not inherit these variables.

    ssh passes its environment on to a jump host's ssh, and not its option BatchMode: that one would get the password
    of the host behind it, or, without a program to ask, send empty ones.
    """
    if not options.proxy:
        return []
    command = options.proxy_command
    if options.proxy_jump:
        *before, last = options.proxy_jump.split(",")
        jump = ["-J", ",".join(before)] if before else []
        target = last if last.startswith("ssh://") else f"ssh://{last}"
        command = shlex.join(["ssh", "-o", "BatchMode=yes", *jump, "-W", "[%h]:%p", target])
    removed = " ".join(f"-u {name}" for name in ("SSH_ASKPASS", *variables))
    command = f"env {removed} SSH_ASKPASS_REQUIRE=never {command}"
    return list_proxy_arguments(SshOptions(proxy_command=command))


def _resolve_member(member: Member) -> Member:
    given = {name for name in ("ansible_port", "ansible_user") if member.variables.get(name)}
    if member.local or member.variables.get("ansible_connection") not in _SSH_CONNECTIONS or "{{" in member.address:
        return member
    if _is_address(member.address) and len(given) == 2:
        return member
    try:
        host = ask_ssh(
            member.address,
            member.port if "ansible_port" in given else 0,
            member.user if "ansible_user" in given else "",
        )
    except UsageError:
        return member  # Ansible reports why it cannot connect
    return replace(member, address=host.address, port=host.port, user=host.user or member.user)


def _read_options(values: Mapping[str, Sequence[str]], name: str) -> SshOptions:
    identities = list(values.get("identityfile", ()))
    if identities == list(_read_defaults().get("identityfile", ())):
        identities = []
    jump, command = _get(values, "proxyjump"), _get(values, "proxycommand")
    return SshOptions(
        identity_files=identities,
        identities_only=_get(values, "identitiesonly") == "yes",
        proxy_jump="" if jump == "none" else jump,
        proxy_command="" if command == "none" else _replace_name(command, name),
    )


def _replace_name(command: str, name: str) -> str:
    """Return a ProxyCommand with `%n`, the name that the user wrote, replaced: Ansible connects to the address."""
    return re.sub("%(.)", lambda match: name if match[1] == "n" else match[0], command)


def _find_own_account(values: Mapping[str, Sequence[str]]) -> str:
    """Return the account of ~/.ssh/config; without one, ssh prints the account of the user."""
    user = _get(values, "user")
    return "" if user in (getpass.getuser(), _get(_read_defaults(), "user")) else user


def _get(values: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(values.get(name, ())), "")


@functools.cache
def _read_defaults() -> Mapping[str, Sequence[str]]:
    """Return what ssh uses without any configuration."""
    return _run_ssh(("-F", _NO_FILE, "--", "localhost"))


def _run_ssh(arguments: Iterable[str]) -> dict[str, list[str]]:
    """Return the options that `ssh -G` prints, each with its values."""
    try:
        done = subprocess.run(
            ["ssh", "-G", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        message = "ssh is missing on this computer. Install OpenSSH's client (Debian: apt install openssh-client)."
        raise DriverError(message) from error
    if done.returncode != 0:
        raise UsageError(
            f"ssh cannot read its configuration: {' '.join(done.stderr.split())}. Correct ~/.ssh/config; `ssh -G NAME` "
            "shows what ssh makes of a name."
        )
    values: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _blank, value = line.partition(" ")
        values.setdefault(name, []).append(value)
    return values


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
