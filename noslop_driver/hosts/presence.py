# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out which members are away, so that a run leaves them out and completes on the others.

A member is away if it does not answer. One that refuses the login, or shows another key, is not: a user has to look at
it. Without the storage server nothing can be done on the others, which mount its shares and acquire its lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from noslop_driver.ansible.inventory_list import select_hosts
from noslop_driver.errors import UnreachableError
from noslop_driver.hosts import ssh_errors, sudo
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import Member
from noslop_driver.models import Endpoint, Problem
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets

AWAY_KINDS = frozenset({"closed", "name", "no_route", "refused", "silent", "timeout"})
"""Kinds of problems of hosts that do not answer."""


@dataclass(frozen=True)
class Presence:
    """The passwords of the login, with the sudo password if it was asked for, and the members that are away."""

    secrets: Secrets
    away: Mapping[str, str] = field(default_factory=dict)
    """Their names, each with the reason."""


def look(
    inventory: Path, members: Sequence[Member], login: Login, terminal: Terminal, limit: str | None = None
) -> Presence:
    """Find out which members are away, and ask for the sudo password if another one needs it.

    Args:
        inventory: the inventory of the studio.
        members: its hosts.
        login: the passwords that flags gave.
        terminal: the terminal to ask on.
        limit: a host pattern. The storage server is looked at in any case.

    Raises:
        UnreachableError: the storage server is away, or every host is.
        UsageError: a host needs a password, and there is no terminal to ask on.
        KeyboardInterrupt: the run was interrupted.
    """
    server = find_server(members)
    selected = select_hosts(inventory, limit) if limit else [member.name for member in members]
    pattern = ",".join([*selected, *([server.name] if server else [])]) if limit else None
    with terminal.out.status("Looking which hosts answer"):
        trial = sudo.try_sudo(inventory, login.secrets, pattern)
    by_name = {member.name: member for member in members}
    problems = [
        ssh_errors.explain(_get_endpoint(by_name[name]), by_name[name].user, message)
        for name, message in trial.unreachable.items()
        if name in by_name
    ]
    away = select_away(problems)
    if server and server.name in away:
        raise UnreachableError(explain_missing_server(server.name, away[server.name]))
    if set(selected) <= set(away):
        raise UnreachableError(f"Nothing was changed: no host answers. {' '.join(away.values())}")
    for name, reason in away.items():
        terminal.warn(f"{name} is left out: {reason}")
    needing = [name for name in sudo.list_asking(trial, terminal) if name not in away]
    secrets = login.secrets
    if needing:
        secrets = sudo.ask_for_password(needing, secrets, terminal, inventory)
    return Presence(secrets, away)


def select_away(problems: Iterable[Problem]) -> dict[str, str]:
    """Return the hosts that do not answer, each with the reason, from the problems of members."""
    return {problem.host: problem.what for problem in problems if problem.host and problem.kind in AWAY_KINDS}


def find_server(members: Iterable[Member]) -> Member | None:
    """Return the storage server; None if there is none."""
    return next((member for member in members if "storage_server" in member.groups), None)


def explain_missing_server(name: str, reason: str) -> str:
    """Return the error of a run without the storage server."""
    return (
        f"{name} is the storage server and does not answer: {reason} Nothing was changed: the other hosts mount its "
        "shares, so nothing can be done on them without it. Switch it on and run this again."
    )


def exclude(limit: str | None, away: Iterable[str]) -> str | None:
    """Return a host pattern without the members that are away."""
    names = sorted(away)
    if not names:
        return limit
    # Ansible does not read a mixture of both separators.
    separator = ":" if limit and ":" in limit and "," not in limit else ","
    return separator.join([limit or "all", *(f"!{name}" for name in names)])


def _get_endpoint(member: Member) -> Endpoint:
    return Endpoint(name=member.name, address=member.address, port=member.port)
