# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the hosts that a user has already: in ~/.ssh/config, in ~/.ssh/known_hosts, or in an Ansible inventory.

ssh has no command that lists the names of its configuration, so their lines are read here; what each name means, ssh
says itself. Nothing is contacted here.
"""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.errors import UsageError
from noslop_driver.hosts import ssh_config
from noslop_driver.hosts.ssh_config import ResolvedHost
from noslop_driver.inventory.directory import read_members

SSH_CONFIG = "ssh-config"
KNOWN_HOSTS = "known-hosts"

_SSH_DIRECTORY = Path("~/.ssh")
_MOST_INCLUDES = 16
"""The depth at which ssh stops too (readconf.c, READCONF_MAX_DEPTH)."""
_LINE = re.compile(r"\s*(?P<keyword>[A-Za-z]+)(?:\s*=\s*|\s+)(?P<rest>.*)")
_HASHED = "|1|"


@dataclass(frozen=True)
class HostList:
    """The hosts of some sources, in order, and notes on what could not be listed."""

    hosts: list[ResolvedHost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_hosts(sources: Sequence[str], account: str = "") -> HostList:
    """Return the hosts of sources: `ssh-config`, `known-hosts`, or the path of an Ansible inventory.

    Raises:
        UsageError: a source cannot be read, or has no host with a name that can be used.
        DriverError: this computer has no ssh.
    """
    result = HostList()
    for source in sources:
        if source == SSH_CONFIG:
            _add_names(result, source, list_config_names(_SSH_DIRECTORY.expanduser() / "config"))
        elif source == KNOWN_HOSTS:
            names, hashed = list_accepted_names(_SSH_DIRECTORY.expanduser() / "known_hosts")
            if hashed:
                result.notes.append(
                    f"{_count(hashed, 'line')} of ~/.ssh/known_hosts cannot be read: their names are hashed "
                    "(HashKnownHosts). Name those hosts (--host), or their network (--network)."
                )
            _add_names(result, source, names, hashed=hashed)
        else:
            result.hosts.extend(_list_inventory_hosts(source, account))
    return result


def list_config_names(path: Path) -> list[str]:
    """Return the concrete names of the `Host` lines of a configuration of ssh, and of the files that it includes.

    Raises:
        UsageError: the file cannot be read.
    """
    names: list[str] = []
    for keyword, words in _read_config(path, depth=0):
        if keyword == "host":
            names += [word for word in words if not set(word) & set("*?!") and not word.startswith("-")]
    return list(dict.fromkeys(names))


def list_accepted_names(path: Path) -> tuple[list[str], int]:
    """Return the hosts of a known_hosts file, each as `name` or `[name]:port`, and the number of hashed lines.

    A line has the names of one machine (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): the first of them counts. Patterns,
    and keys that are revoked or belong to an authority, name no machine.

    Raises:
        UsageError: the file cannot be read.
    """
    names: list[str] = []
    hashed = 0
    for line in _read_text(path).splitlines():
        field_of_names = line.split(maxsplit=1)[0] if line.strip() else "#"
        if field_of_names.startswith(("#", "@")):
            continue
        if field_of_names.startswith(_HASHED):
            hashed += 1
            continue
        concrete = [name for name in field_of_names.split(",") if name and not set(name) & set("*?!")]
        names += [concrete[0]] if concrete else []
    return list(dict.fromkeys(names)), hashed


def _add_names(result: HostList, source: str, names: Sequence[str], *, hashed: int = 0) -> None:
    if not names:
        file = "config" if source == SSH_CONFIG else "known_hosts"
        content = "hashed names only" if hashed else "no host with a name (a pattern such as * names none)"
        todo = "Name the hosts (--host), or their network (--network)."
        raise UsageError(f"--from {source}: ~/.ssh/{file} has {content}. {todo}")
    for name in names:
        try:
            host = ssh_config.ask_ssh(name) if source == SSH_CONFIG else ssh_config.resolve(_format_entry(name))
        except UsageError as error:
            result.notes.append(f"{name} of {source} was left out: {error}")
        else:
            result.hosts.append(replace(host, origin=source))


def _format_entry(name: str) -> str:
    """Return a name of known_hosts in the form of the flag `--host`."""
    match = re.fullmatch(r"\[([^\]]+)\]:(\d+)", name)
    if not match:
        return f"[{name}]" if ":" in name else name
    return name if ":" in match[1] else f"{match[1]}:{match[2]}"


def _list_inventory_hosts(source: str, account: str) -> Iterator[ResolvedHost]:
    path = Path(source)
    if not path.exists():
        raise UsageError(
            f"--from {source}: there is no such file. Write {SSH_CONFIG}, {KNOWN_HOSTS}, or the path of an inventory."
        )
    for member in ssh_config.resolve_members(read_members(list_inventory(path), account)):
        if member.local:
            continue
        options = ssh_config.get_options(member)
        yield ResolvedHost(member.name, member.address, member.port, member.user, options, origin=source)


def _read_config(path: Path, depth: int) -> Iterator[tuple[str, list[str]]]:
    """Return each keyword of a file and of those that it includes, in small letters, with its words."""
    for line in _read_text(path).splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        keyword, words = match["keyword"].lower(), _split(match["rest"])
        yield keyword, words
        if keyword == "include" and depth < _MOST_INCLUDES:
            for included in _find_included(words):
                yield from _read_config(included, depth + 1)


def _find_included(words: Iterable[str]) -> Iterator[Path]:
    """Return the files of an `Include` line; paths without a root are below ~/.ssh (ssh_config(5))."""
    for word in words:
        pattern = _SSH_DIRECTORY.expanduser() / Path(word).expanduser()
        yield from (Path(path) for path in sorted(glob.glob(str(pattern))) if Path(path).is_file())


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
