# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a member by its name, decide whether it can be removed, and list the phases that tell the others of a change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import run_phases
from noslop_driver.errors import UsageError
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import STUDIO, Member, StudioDirectory
from noslop_driver.inventory.render import GROUPS
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import (
    CONFIGURE,
    MEMBERS,
    PREFLIGHT,
    REFERENCES,
    SERVICES,
    STORAGE,
    TEARDOWN,
    VERIFY,
    Phase,
    RunResult,
)
from noslop_driver.records import Record


def find_member(members: Sequence[Member], name: str, studio: StudioDirectory) -> Member:
    """Return the member with a name.

    Raises:
        UsageError: no member has it.
    """
    for member in members:
        if member.name == name:
            return member
    names = ", ".join(member.name for member in members)
    raise UsageError(f"{name} is no host of {studio.path}. It has {names}.")


def require_removable(member: Member, members: Sequence[Member], studio: StudioDirectory) -> None:
    """Raise an error where the other hosts cannot work without a member.

    Raises:
        UsageError: it is the storage server, the backend's host, or the only host.
    """
    teardown = f"To remove everything: noslop-driver teardown --inventory {studio.path}."
    if len(members) == 1 or member.local:
        raise UsageError(f"{member.name} is the only host of {studio.path}. {teardown}")
    if "storage_server" in member.groups:
        raise UsageError(
            f"{member.name} is the storage server: the other hosts mount its shares. It can be neither removed nor "
            f"replaced while they do. To move the storage to another host first: noslop-driver host move-storage HOST. "
            f"{teardown}"
        )
    if "backend" in member.groups:
        raise UsageError(
            f"The backend runs on {member.name}, with its database. Make a backup and restore it on another host "
            f"(docs/backend.md, Backups), assign the backend to that host in the inventory, deploy, and run this again."
        )


def confirm_dead(member: Member, reason: str, options: Options, terminal: Terminal) -> None:
    """Ask whether a member that does not answer is removed without it.

    Raises:
        UsageError: the answer was no, or there is no terminal to ask on and `--dead` was not given.
    """
    if options.dead:
        return
    terminal.print(f"{member.name} does not answer: {reason}")
    todo = f"Switch {member.name} on and run this again, or pass --dead. Nothing was changed."
    # Not answered by --yes: what runs on it stays there.
    if not terminal.interactive:
        raise UsageError(f"{member.name} does not answer, and what was installed there can only be left. {todo}")
    if not terminal.confirm("Remove it without it, and leave there what was installed?", flag="--dead", default=False):
        raise UsageError(f"You answered no. {todo}")


def describe_member(member: Member) -> str:
    """Return a member's name, address and groups as text."""
    groups = ", ".join(group for group in GROUPS if group in member.groups) or "no group"
    return f"{member.name} ({member.address}; {groups})"


def list_mentions(studio: StudioDirectory, name: str) -> list[str]:
    """Return a note for each line of studio.yml that names a host: the next deployment refuses a name of no host."""
    path = studio.path / STUDIO
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    word = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])")
    return [
        f"{path}, line {number} names {name}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if word.search(line.partition(" #")[0]) and not line.lstrip().startswith("#")
    ]


def list_join_phases(new: Sequence[str], others: Sequence[str]) -> list[Phase]:
    """Return the phases that deploy new hosts, and change of the others only what names the members."""
    deployed = ",".join(new)
    storage, configure, services = (replace(phase, limit=deployed) for phase in (STORAGE, CONFIGURE, SERVICES))
    members, references = list_change_phases(others)
    return [replace(PREFLIGHT, limit=deployed), members, storage, configure, services, references, VERIFY]


def list_change_phases(others: Sequence[str]) -> list[Phase]:
    """Return the phases that change of hosts only what names the members: firewall, exports, backend and checks."""
    return [replace(phase, limit=",".join(others)) for phase in (MEMBERS, REFERENCES)]


def get_pinned_keys(studio: StudioDirectory, member: Member) -> list[str]:
    """Return the SSH host keys that were accepted for a member."""
    return KnownHosts(studio.known_hosts).find_keys(member.address, member.port)


def run_teardown(
    command: tuple[str, str], member: Member, studio: StudioDirectory, login: Login, terminal: Terminal
) -> tuple[RunResult, Record]:
    """Remove from one host what was installed there, and return the result and its record.

    `command` is what runs this, such as `host remove`, and its word after the host's name, for the advice to run it
    again.
    """
    record = Record(studio.records, command[0], login.secrets)
    phases = [replace(TEARDOWN, limit=member.name)]
    words = " ".join([command[0], member.name, command[1]]).strip()
    result, _members = run_phases(words, phases, studio, login=login, terminal=terminal, record=record)
    if not result.complete:
        result.message += f" {member.name} is still a host of the studio. --dead removes it as it is."
    return result, record


def join_results(first: RunResult | None, second: RunResult) -> RunResult:
    """Return the result of two runs of phases, one after the other."""
    if first is None:
        return second
    kept: Mapping[str, list[str]] = {**first.kept, **second.kept}
    return replace(second, phases=[*first.phases, *second.phases], kept=dict(kept))
