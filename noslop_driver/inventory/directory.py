# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A studio's directory: an ordinary Ansible inventory, written from a plan and read back.

The inventory is the truth. A file that a person has edited is never written again: the hash of what was written is
kept in `.noslop/written.json`, and a file that differs from it belongs to the person. Ansible reads every visible
file of the directory as inventory, so the driver's own things lie in `.noslop/`.
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

from noslop_driver.errors import UsageError
from noslop_driver.hosts.known_hosts import SSH_PORT, KnownHosts
from noslop_driver.inventory.render import GROUPS, Connection, render_connection, render_hosts
from noslop_driver.models import Host, Plan, ServiceRole, Wishes
from noslop_driver.settings import studio_yml

HOSTS = "hosts.yml"
MORE_HOSTS = "more_hosts.yml"
STUDIO = "group_vars/all/studio.yml"
CONNECTION = "group_vars/all/connection.yml"


@dataclass(frozen=True)
class Member:
    """A host as the inventory has it."""

    name: str
    address: str
    """Where Ansible reaches it."""
    port: int
    user: str
    groups: frozenset[str]
    variables: Mapping[str, Any] = field(repr=False)

    @property
    def local(self) -> bool:
        """True for the computer that the driver runs on."""
        return self.variables.get("ansible_connection") in ("local", "ansible.builtin.local")

    @property
    def studio_address(self) -> str:
        """The address under which the other hosts know it."""
        return str(self.variables.get("noslop_address") or self.address)


@dataclass(frozen=True)
class Written:
    """What became of each file, and what a person has to do himself."""

    files: list[str]
    kept: list[str]
    """Files that a person has edited, which were left as they are."""
    notes: list[str]


class StudioDirectory:
    """`inventories/<studio>`; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = path / ".noslop"

    @property
    def name(self) -> str:
        """The studio's name: its directory's."""
        return self.path.resolve().name

    @property
    def exists(self) -> bool:
        """True when there is an inventory in it, ours or somebody's own."""
        return self.path.is_dir() and any(
            entry.is_file() and not entry.name.startswith(".") for entry in self.path.iterdir()
        )

    @property
    def known_hosts(self) -> KnownHosts:
        """The keys that were accepted."""
        return KnownHosts(self.own / "known_hosts")

    @property
    def records(self) -> Path:
        """Where deployment records lie."""
        return self.own / "records"

    def is_edited(self, name: str) -> bool:
        """Whether a person wrote or changed a file. An inventory that the driver did not make is all a person's."""
        if name == HOSTS and self.exists and name not in self._hashes():
            return True
        path = self.path / name
        return path.exists() and self._hashes().get(name) != _hash(path.read_bytes())

    def wishes(self) -> dict[str, Any]:
        """What studio.yml says, under the names of `Wishes`; nothing when there is no such file."""
        path = self.path / STUDIO
        return studio_yml.read(path) if path.exists() else {}

    def write(
        self,
        plan: Plan,
        connection: Connection,
        *,
        known: Sequence[str] = (),
        local: bool = False,
        with_wishes: bool = True,
    ) -> Written:
        """Write the plan as an inventory, but for what a person has edited.

        Args:
            plan: who does what, and the wishes.
            connection: how to log in.
            known: names of the hosts that are in the inventory already; they keep their order.
            local: the only host is this computer.
            with_wishes: False where a person keeps the studio's variables in files of his own.

        Raises:
            UsageError: a new host has no file to go into.
        """
        result = Written([], [], [])
        order = {name: number for number, name in enumerate(known)}
        hosts = sorted(plan.hosts, key=lambda host: order.get(host.name, len(order)))
        edited = self.is_edited(HOSTS)
        self._make_own()
        self._put_private("studio.schema.json", studio_yml.schema_text())
        if edited:
            result.kept.append(HOSTS)
            self._write_more_hosts(plan, [host for host in hosts if host.name not in order], result)
        else:
            self._write(HOSTS, render_hosts(plan, self.name, hosts, local=local), result)
        if with_wishes:
            self._write(STUDIO, studio_yml.render(plan.wishes), result)
        if not edited or (self.path / CONNECTION).exists():
            self._write(CONNECTION, render_connection(connection, local=local), result)
        if STUDIO in result.kept:
            result.notes.extend(self._proposed(plan.wishes))
        return result

    def prepare(self) -> None:
        """Make the driver's own directory, for the keys of hosts that are not in the inventory yet."""
        self._make_own()

    def _write_more_hosts(self, plan: Plan, new: Sequence[Host], result: Written) -> None:
        """Put new hosts into a file beside the ones that a person keeps: Ansible reads them all."""
        if not new:
            return
        path = self.path / MORE_HOSTS
        names = ", ".join(host.name for host in new)
        if self.is_edited(MORE_HOSTS):
            raise UsageError(f"The hosts in {self.path} were edited by hand. Add {names} there, with its groups.")
        before = _hosts_in(path.read_text(encoding="utf-8")) if path.exists() else set()
        hosts = [host for host in plan.hosts if host in new or host.name in before]
        self._write(MORE_HOSTS, render_hosts(plan, self.name, hosts, local=False), result)
        result.notes.append(f"The hosts were edited by hand and stay as they are: {names} went into {path}.")

    def _proposed(self, wishes: Wishes) -> list[str]:
        """Variables that an edited studio.yml does not mention, to be added by hand."""
        text = (self.path / STUDIO).read_text(encoding="utf-8")
        missing = [
            f"{name}: {studio_yml.scalar(value)}"
            for name, value in wishes.variables().items()
            if name not in text and value is not None
        ]
        if not missing:
            return []
        return [f"{self.path / STUDIO} was edited by hand and left as it is. It could also say: " + "; ".join(missing)]

    def _write(self, name: str, text: str, result: Written) -> None:
        path = self.path / name
        if self.is_edited(name):
            result.kept.append(name)
            return
        data = text.encode()
        if not path.exists() or path.read_bytes() != data:
            _replace(path, data)
            result.files.append(name)
        hashes = self._hashes()
        hashes[name] = _hash(data)
        self._put_private("written.json", json.dumps(hashes, indent=2, sort_keys=True) + "\n")

    def _make_own(self) -> None:
        """Make the driver's own directory, or take away what others may do in one that is there.

        Raises:
            UsageError: it belongs to another account.
        """
        facts = self.own / "cache" / "facts"
        facts.mkdir(parents=True, exist_ok=True)
        for path in (self.own, facts.parent, facts):
            if stat.S_IMODE(path.stat().st_mode) != 0o700:
                try:
                    path.chmod(0o700)
                except PermissionError as error:
                    raise UsageError(
                        f"{path} belongs to another account and may be read by others. Run this as that account, or "
                        f"remove {self.own} to have it made anew."
                    ) from error
        # Keys, records and cached facts are about this computer's view of the hosts: not for a repository.
        ignore = self.own / ".gitignore"
        if not ignore.exists():
            _replace(ignore, b"*\n!.gitignore\n!known_hosts\n")

    def _put_private(self, name: str, text: str) -> None:
        _replace(self.own / name, text.encode(), 0o600)

    def _hashes(self) -> dict[str, str]:
        path = self.own / "written.json"
        if not path.exists():
            return {}
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return found


def members(listing: Mapping[str, Any], default_user: str) -> list[Member]:
    """Read the hosts out of what `ansible-inventory --list` says.

    Raises:
        UsageError: it has no hosts.
    """
    variables: Mapping[str, Mapping[str, Any]] = listing.get("_meta", {}).get("hostvars", {})
    groups: dict[str, set[str]] = {}
    for group in GROUPS:
        for name in _hosts_of(listing, group):
            groups.setdefault(name, set()).add(group)
    names = list(dict.fromkeys([*_hosts_of(listing, "all"), *variables]))
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


def choices(found: Sequence[Member]) -> dict[str, Any]:
    """Who does what in an inventory, as wishes: `server` and `roles`.

    Raises:
        UsageError: there is more than one storage server.
    """
    servers = [member.name for member in found if "storage_server" in member.groups]
    if len(servers) > 1:
        raise UsageError(f"The group storage_server has {', '.join(servers)}. A studio has one storage server.")
    services: tuple[ServiceRole, ...] = get_args(ServiceRole)
    roles = {member.name: [role for role in services if role in member.groups] for member in found if member.groups}
    return {"server": servers[0] if servers else None, "roles": roles}


def _hosts_of(listing: Mapping[str, Any], group: str) -> list[str]:
    """The hosts of a group and of the groups in it."""
    found = listing.get(group) or {}
    names = list(found.get("hosts") or [])
    for child in found.get("children") or []:
        names += _hosts_of(listing, child)
    return list(dict.fromkeys(names))


def _hosts_in(text: str) -> set[str]:
    """Every name under a `hosts` key, however deep."""
    found: set[str] = set()
    rest: list[Any] = [yaml.safe_load(text)]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            hosts = value.get("hosts")
            found |= set(hosts) if isinstance(hosts, dict) else set()
            rest += value.values()
    return found


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _replace(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file whole or not at all; without a `mode` it keeps the one it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if mode is None:
            mode = path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_umask()
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
