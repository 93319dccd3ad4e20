# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook noslop.studio.compare: one task on all hosts at once, which compares each with its record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check

from noslop_driver.ansible.events import Event, Outcome, Status
from noslop_driver.hosts import ssh_errors, sudo
from noslop_driver.hosts.login import Login
from noslop_driver.hosts.playbook_run import ask_members
from noslop_driver.inventory.directory import Member
from noslop_driver.output.terminal import Terminal

PLAYBOOK = "noslop.studio.compare"


@dataclass(frozen=True)
class HostLook:
    """The result of one look at a host."""

    host: str
    deployment: str = ""
    """The identity of the recorded deployment; empty where there is no record."""
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""
    checks: Sequence[Check] = ()
    error: str = ""
    """Why it could not be looked at; empty if it could."""


@dataclass(frozen=True)
class StudioLook:
    """The looks at all hosts of a studio, in the order of the inventory, and the run that made them."""

    hosts: Sequence[HostLook] = ()
    outcome: Outcome = field(default_factory=lambda: Outcome(Status.OK, 0))
    seconds: float = 0.0

    @property
    def checks(self) -> int:
        """Return the number of checks on all hosts together."""
        return sum(len(host.checks) for host in self.hosts)


def compare_hosts(
    inventory: Path, members: Sequence[Member], login: Login, terminal: Terminal
) -> tuple[StudioLook, Login]:
    """Look at every host once; if sudo needs a password that no flag gave, ask for it and look again.

    Args:
        inventory: the directory of the studio.
        members: its hosts.
        login: the passwords.
        terminal: the terminal for progress, and to ask on.

    Returns:
        The looks, and the login with the sudo password if it was asked for.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    started = time.monotonic()
    events, outcome = _run(inventory, members, login, terminal)
    asking = [failure.host for failure in outcome.failures if ssh_errors.wants_sudo_password(failure.message)]
    if asking and terminal.can_ask_password:
        login = replace(login, secrets=sudo.ask_for_password(asking, login.secrets, terminal, inventory))
        started = time.monotonic()
        events, outcome = _run(inventory, members, login, terminal)
    hosts = parse_events([member.name for member in members], events, outcome)
    return StudioLook(hosts, outcome, time.monotonic() - started), login


def parse_events(names: Sequence[str], events: Sequence[Event], outcome: Outcome) -> list[HostLook]:
    """Return the look at each host, from the events of the playbook. What a host returns may be anything."""
    results = {event.host: event.result for event in events if event.kind == "ok" and "fingerprint" in event.result}
    errors = {failure.host: failure.message for failure in outcome.failures}
    looks = []
    for name in names:
        try:
            look = _parse_result(name, results[name]) if name in results else None
        except (ValueError, KeyError, TypeError, AttributeError):
            look = HostLook(name, error="it returned something else than a look")
        looks.append(look or HostLook(name, error=errors.get(name) or outcome.output or "it did not answer"))
    return looks


def _parse_result(host: str, result: Mapping[str, Any]) -> HostLook:
    checks = [
        Check(
            host=host,
            check=str(check["check"]),
            share=str(check["share"]),
            ok=check["ok"] is True,
            seen=str(check["seen"]),
            expected=str(check["expected"]),
            todo=str(check["todo"]),
        )
        for check in result["checks"]
    ]
    made = {str(part): str(value) for part, value in result["fingerprint"].items()}
    return HostLook(host, str(result["deployment"]), made, str(result["finished"]), checks)


def _run(inventory: Path, members: Sequence[Member], login: Login, terminal: Terminal) -> tuple[list[Event], Outcome]:
    return ask_members(
        PLAYBOOK, inventory, members, login, terminal, title="Comparing each host with its last deployment"
    )
