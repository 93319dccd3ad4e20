# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a studio's directory from a plan, as an ordinary Ansible inventory, and read it back.

The inventory is the truth. A file that a user has edited is never written again: the hash of each written file is kept
in `.noslop/written.json`, and a file with another hash belongs to the user. Ansible reads every visible file of the
directory as inventory, so the driver keeps its own files in `.noslop/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import SSH_PORT

from noslop_driver.choices import ServiceRole
from noslop_driver.errors import UsageError
from noslop_driver.inventory import studio_yml
from noslop_driver.inventory.render import GROUPS, Connection, render_connection, render_hosts
from noslop_driver.models import Host, Plan, StudioSettings

HOSTS = "hosts.yml"
MORE_HOSTS = "more_hosts.yml"
STUDIO = "group_vars/all/studio.yml"
CONNECTION = "group_vars/all/connection.yml"

_EARLIER_IGNORE = b"*\n!.gitignore\n!known_hosts\n"
_IGNORE = _EARLIER_IGNORE + b"!machines.json\n"


@dataclass(frozen=True)
class Member:
    """A host of the inventory."""

    name: str
    address: str
    """The address that Ansible connects to."""
    port: int
    user: str
    groups: frozenset[str]
    variables: Mapping[str, Any] = field(repr=False)

    @property
    def local(self) -> bool:
        """Return whether the host is the computer that the driver runs on."""
        return self.variables.get("ansible_connection") in ("local", "ansible.builtin.local")

    @property
    def studio_address(self) -> str:
        """Return the address that the other hosts use."""
        return str(self.variables.get("noslop_address") or self.address)


@dataclass(frozen=True)
class WriteResult:
    """The files that were written and kept, and notes on what the user has to edit."""

    files: list[str]
    kept: list[str]
    """Files that a user has edited, which were not written."""
    notes: list[str]


class StudioDirectory:
    """The directory `inventories/<studio>`. It need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state_dir = path / ".noslop"

    @property
    def name(self) -> str:
        """Return the studio's name, which is that of its directory."""
        return self.path.resolve().name

    @property
    def exists(self) -> bool:
        """Return whether the directory has an inventory, of the driver or of a user."""
        return self.path.is_dir() and any(
            entry.is_file() and not entry.name.startswith(".") for entry in self.path.iterdir()
        )

    @property
    def known_hosts(self) -> Path:
        """Return the path of the studio's known_hosts, with the accepted keys. The file need not exist yet."""
        return self.state_dir / "known_hosts"

    @property
    def records(self) -> Path:
        """Return the directory of the deployment records."""
        return self.state_dir / "records"

    def is_edited(self, name: str) -> bool:
        """Return whether a user wrote or changed a file. An inventory that the driver did not make is a user's."""
        if name == HOSTS and self.exists and name not in self._read_hashes():
            return True
        path = self.path / name
        return path.exists() and self._read_hashes().get(name) != _hash(path.read_bytes())

    def read_settings(self) -> dict[str, Any]:
        """Return the settings in studio.yml, under the names of `StudioSettings`; none if there is no such file."""
        path = self.path / STUDIO
        return studio_yml.read(path) if path.exists() else {}

    def write(
        self,
        plan: Plan,
        connection: Connection,
        *,
        existing_hosts: Sequence[str] = (),
        local: bool = False,
        write_settings: bool = True,
    ) -> WriteResult:
        """Write the plan as an inventory, except the files that a user has edited.

        Args:
            plan: the roles of the hosts, and the settings.
            connection: how to log in.
            existing_hosts: names of the hosts that are in the inventory already; they keep their order.
            local: the only host is this computer.
            write_settings: False where a user keeps the studio's variables in their own files.

        Raises:
            UsageError: a new host has no file to go into.
        """
        result = WriteResult([], [], [])
        order = {name: number for number, name in enumerate(existing_hosts)}
        hosts = sorted(plan.hosts, key=lambda host: order.get(host.name, len(order)))
        edited = self.is_edited(HOSTS)
        self.make_state_dir()
        self.write_state("studio.schema.json", studio_yml.render_schema())
        if edited:
            result.kept.append(HOSTS)
            self._write_more_hosts(plan, [host for host in hosts if host.name not in order], result)
        else:
            self._write(HOSTS, render_hosts(plan, self.name, hosts, local=local), result)
        if write_settings:
            self._write(STUDIO, studio_yml.render(plan.settings), result)
        if not edited or (self.path / CONNECTION).exists():
            self._write(CONNECTION, render_connection(connection, local=local), result)
        if STUDIO in result.kept:
            result.notes.extend(self._list_missing_variables(plan.settings))
        return result

    def write_settings(self, settings: StudioSettings) -> WriteResult:
        """Write the studio's settings, unless a user edited their file."""
        result = WriteResult([], [], [])
        self._write(STUDIO, studio_yml.render(settings), result)
        return result

    def _write_more_hosts(self, plan: Plan, new: Sequence[Host], result: WriteResult) -> None:
        """Write new hosts into a file beside the edited ones: Ansible reads all of them."""
        if not new:
            return
        path = self.path / MORE_HOSTS
        names = ", ".join(host.name for host in new)
        if self.is_edited(MORE_HOSTS):
            raise UsageError(f"The hosts in {self.path} were edited by hand. Add {names} there, with its groups.")
        before = _list_host_names(path.read_text(encoding="utf-8")) if path.exists() else set()
        hosts = [host for host in plan.hosts if host in new or host.name in before]
        self._write(MORE_HOSTS, render_hosts(plan, self.name, hosts, local=False), result)
        result.notes.append(f"The hosts were edited by hand and stay as they are: {names} went into {path}.")

    def _list_missing_variables(self, settings: StudioSettings) -> list[str]:
        """Return a note with the variables that an edited studio.yml does not have, to be added by hand."""
        text = (self.path / STUDIO).read_text(encoding="utf-8")
        missing = [
            f"{name}: {studio_yml.format_value(value)}"
            for name, value in settings.variables().items()
            if name not in text and value is not None
        ]
        if not missing:
            return []
        return [f"{self.path / STUDIO} was edited by hand and left as it is. It does not have: " + "; ".join(missing)]

    def _write(self, name: str, text: str, result: WriteResult) -> None:
        path = self.path / name
        if self.is_edited(name):
            result.kept.append(name)
            return
        data = text.encode()
        if not path.exists() or path.read_bytes() != data:
            _write_atomically(path, data)
            result.files.append(name)
        hashes = self._read_hashes()
        hashes[name] = _hash(data)
        self.write_state("written.json", json.dumps(hashes, indent=2, sort_keys=True) + "\n")

    def replace_edited(self, name: str, text: str) -> None:
        """Write a file that a person has edited, with a change that they asked for. It stays theirs."""
        _write_atomically(self.path / name, text.encode())

    def change_files(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Write files with a change that the user asked for. Return what they had before.

        A file that a user has edited stays theirs, and another one stays the driver's.
        """
        before = {}
        hashes = self._read_hashes()
        for name, text in texts.items():
            edited = self.is_edited(name)
            before[name] = (self.path / name).read_text(encoding="utf-8")
            _write_atomically(self.path / name, text.encode())
            if not edited:
                hashes[name] = _hash(text.encode())
                self.write_state("written.json", json.dumps(hashes, indent=2, sort_keys=True) + "\n")
        return before

    def make_state_dir(self) -> None:
        """Make the driver's own directory `.noslop`, or close an existing one to other accounts.

        Raises:
            UsageError: the directory belongs to another account.
        """
        facts = self.state_dir / "cache" / "facts"
        facts.mkdir(parents=True, exist_ok=True)
        for path in (self.state_dir, facts.parent, facts):
            if stat.S_IMODE(path.stat().st_mode) != 0o700:
                try:
                    path.chmod(0o700)
                except PermissionError as error:
                    raise UsageError(
                        f"{path} belongs to another account and may be read by others. Run this as that account, or "
                        f"remove {self.state_dir} to have it made anew."
                    ) from error
        # Records and cached facts belong to this computer, not into a repository.
        ignore = self.state_dir / ".gitignore"
        if not ignore.exists() or ignore.read_bytes() == _EARLIER_IGNORE:
            _write_atomically(ignore, _IGNORE)

    def write_state(self, name: str, text: str) -> None:
        """Write a file of the driver's own, which only this account can read, whole or not at all."""
        _write_atomically(self.state_dir / name, text.encode(), 0o600)

    def _read_hashes(self) -> dict[str, str]:
        path = self.state_dir / "written.json"
        if not path.exists():
            return {}
        hashes: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return hashes


def read_members(listing: Mapping[str, Any], default_user: str) -> list[Member]:
    """Return the hosts in the output of `ansible-inventory --list`.

    Raises:
        UsageError: the inventory has no hosts.
    """
    variables: Mapping[str, Mapping[str, Any]] = listing.get("_meta", {}).get("hostvars", {})
    groups: dict[str, set[str]] = {}
    for group in GROUPS:
        for name in _list_group_hosts(listing, group):
            groups.setdefault(name, set()).add(group)
    names = list(dict.fromkeys([*_list_group_hosts(listing, "all"), *variables]))
    if not names:
        raise UsageError("The inventory has no hosts. Deploy with --network or --host to find some.")
    return [
        Member(
            name=name,
            address=str(variables.get(name, {}).get("ansible_host") or name),
            port=int(variables.get(name, {}).get("ansible_port") or SSH_PORT),
            user=str(variables.get(name, {}).get("ansible_user") or default_user),
            groups=frozenset(groups.get(name, set())),
            variables=variables.get(name, {}),
        )
        for name in names
    ]


def read_roles(members: Sequence[Member]) -> dict[str, Any]:
    """Return the roles of an inventory's hosts as the settings `server` and `roles`.

    Raises:
        UsageError: there is more than one storage server.
    """
    servers = [member.name for member in members if "storage_server" in member.groups]
    if len(servers) > 1:
        raise UsageError(f"The group storage_server has {', '.join(servers)}. A studio has one storage server.")
    services: tuple[ServiceRole, ...] = get_args(ServiceRole)
    roles = {member.name: [role for role in services if role in member.groups] for member in members if member.groups}
    return {"server": servers[0] if servers else None, "roles": roles}


def _list_group_hosts(listing: Mapping[str, Any], group: str) -> list[str]:
    """Return the hosts of a group and of the groups in it."""
    content = listing.get(group) or {}
    names = list(content.get("hosts") or [])
    for child in content.get("children") or []:
        names += _list_group_hosts(listing, child)
    return list(dict.fromkeys(names))


def _list_host_names(text: str) -> set[str]:
    """Return every name under a `hosts` key, at any depth."""
    names: set[str] = set()
    rest: list[Any] = [yaml.safe_load(text)]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            hosts = value.get("hosts")
            names |= set(hosts) if isinstance(hosts, dict) else set()
            rest += value.values()
    return names


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_atomically(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file atomically; without a `mode` it keeps its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if mode is None:
            mode = path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_read_umask()
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
