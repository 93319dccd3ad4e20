# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for the sudo password where a member of the studio needs one and no flag gave it.

Before a phase begins, a playbook tries to become root in the way that the inventory configures: a password that is
missing on one of several hosts must not end a run half-way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from noslop_driver.ansible.events import Event, Status, read_message
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.errors import UsageError
from noslop_driver.hosts import ssh_errors
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets, ask_password, private_directory, write_private

_PLAYBOOK = json.dumps(
    [
        {
            "name": "Become root without a password",
            "hosts": "all",
            "gather_facts": False,
            "become": True,
            "tasks": [
                {
                    "name": "sudo | Become root",
                    "ansible.builtin.raw": "true",
                    "changed_when": False,
                    "ignore_errors": True,
                    "ignore_unreachable": True,
                }
            ],
        }
    ]
)


@dataclass(frozen=True)
class SudoTrial:
    """The result of a try to become root on the members."""

    needing_password: list[str]
    """Names of the hosts on which sudo needs a password."""
    unreachable: dict[str, str]
    """The message of Ansible about each host that could not be reached."""


def ask_where_needed(inventory: Path, secrets: Secrets, terminal: Terminal, limit: str | None = None) -> Secrets:
    """Return the passwords with the one for sudo, which is asked for if a member needs it and it is missing.

    Args:
        inventory: an inventory of members only, whose keys and roles the user has confirmed.
        secrets: the passwords that flags gave.
        terminal: the terminal to ask on.
        limit: a host pattern.

    Raises:
        UsageError: a host needs a password, and there is no terminal to ask on.
        KeyboardInterrupt: the run was interrupted.
    """
    if secrets.become_password:
        return secrets
    with terminal.out.status("Checking whether sudo needs a password"):
        hosts = find_hosts_needing_password(inventory, secrets, limit)
    return ask_for_password(hosts, secrets, terminal) if hosts else secrets


def ask_for_password(hosts: Iterable[str], secrets: Secrets, terminal: Terminal) -> Secrets:
    """Ask for the sudo password of these hosts, and return the passwords with it.

    Raises:
        UsageError: there is no terminal to ask on.
    """
    names = ", ".join(hosts)
    if not terminal.can_ask_password:
        raise UsageError(
            f"sudo needs a password on {names}, and {terminal.no_input_reason}. Pass --become-pass-file FILE with the "
            "password in a file, or let the account use sudo without one."
        )
    terminal.print(f"sudo needs a password on {names}.")
    password = ask_password("sudo password: ", "--ask-become-pass", "--become-pass-file", interactive=True)
    return replace(secrets, become_password=password)


def find_hosts_needing_password(inventory: Path, secrets: Secrets, limit: str | None = None) -> list[str]:
    """Return the hosts on which sudo needs a password, without hosts that do not answer.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    return try_sudo(inventory, secrets, limit).needing_password


def try_sudo(inventory: Path, secrets: Secrets, limit: str | None = None) -> SudoTrial:
    """Try to become root on the members, and return where a password is missing and who could not be reached.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    trial = SudoTrial([], {})

    def follow(event: Event) -> None:
        message = read_message(event.result)
        if event.kind == "failed" and ssh_errors.is_sudo_password_missing(message):
            trial.needing_password.append(event.host)
        elif event.kind == "unreachable":
            trial.unreachable[event.host] = message

    with private_directory("noslop-sudo-") as private:
        playbook = write_private(private / "sudo.yml", _PLAYBOOK)
        outcome = run_playbook(playbook, inventory, on_event=follow, secrets=secrets, limit=limit)
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    trial.needing_password.sort()
    return trial
