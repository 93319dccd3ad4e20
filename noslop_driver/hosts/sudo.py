# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for the sudo password where a member of the studio needs one and no flag gave it.

Before a phase begins, a playbook tries to become root in the way that the inventory configures: a password that is
missing on one of several hosts must not end a run half-way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from noslop_driver.ansible.events import Event, Status, read_message
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.errors import UsageError
from noslop_driver.hosts import ssh_errors
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets, ask_password, private_directory, write_private

_MOST_ATTEMPTS = 3
"""The passwords that are asked for each host, as sudo does itself."""
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
    refusing: list[str] = field(default_factory=list)
    """Names of the hosts on which sudo refused the password."""


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
    if secrets.become_password and not terminal.can_ask_password:
        return secrets  # the first phase reports hosts that refuse it
    with terminal.out.status("Checking whether sudo needs a password"):
        trial = try_sudo(inventory, secrets, limit)
    hosts = list_asking(trial, terminal)
    return ask_for_password(hosts, secrets, terminal, inventory) if hosts else secrets


def list_asking(trial: SudoTrial, terminal: Terminal) -> list[str]:
    """Return the hosts whose password has to be asked for: one that was refused only where there is a terminal."""
    return sorted([*trial.needing_password, *(trial.refusing if terminal.can_ask_password else [])])


def ask_for_password(hosts: Sequence[str], secrets: Secrets, terminal: Terminal, inventory: Path) -> Secrets:
    """Ask for the sudo password of these hosts, and return the passwords with it.

    The password of the first host is tried on the others, before one is asked for again: they often have the same.

    Raises:
        UsageError: there is no terminal to ask on, or a host refused each of several passwords.
        KeyboardInterrupt: the run was interrupted.
    """
    names = ", ".join(hosts)
    if not terminal.can_ask_password:
        raise UsageError(
            f"sudo needs a password on {names}, and {terminal.no_input_reason}. Pass --become-pass-file FILE with the "
            "password in a file, or let the account use sudo without one."
        )
    terminal.print(f"sudo needs a password on {names}.")
    rest = list(hosts)
    prompt = "sudo password: "
    general = secrets.become_password
    own = dict(secrets.become_passwords)
    for _attempt in range(_MOST_ATTEMPTS * len(rest)):
        password = ask_password(prompt, "--ask-become-pass", "--become-pass-file", interactive=True)
        tried = {host: other for host, other in own.items() if host not in rest}
        with terminal.out.status(f"Trying it on {', '.join(rest)}"):
            trial = try_sudo(inventory, Secrets(secrets.ssh_password, password, tried), ",".join(rest))
        refusing = [host for host in rest if host in trial.refusing or host in trial.needing_password]
        accepting = [host for host in rest if host not in refusing]
        if accepting and general is None:
            general = password
        own = {host: other for host, other in own.items() if host not in accepting}
        own |= {host: password for host in accepting if password != general}
        if not refusing:
            return replace(secrets, become_password=general, become_passwords=own)
        rest = refusing
        terminal.print(f"sudo refused it on {', '.join(rest)}.")
        prompt = f"sudo password on {rest[0]}: "
    raise UsageError(f"sudo on {rest[0]} refused every password. Try it there: `sudo -k true`.")


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
        elif event.kind == "failed" and ssh_errors.is_sudo_password_wrong(message):
            trial.refusing.append(event.host)
        elif event.kind == "unreachable":
            trial.unreachable[event.host] = message

    with private_directory("noslop-sudo-") as private:
        playbook = write_private(private / "sudo.yml", _PLAYBOOK)
        outcome = run_playbook(playbook, inventory, on_event=follow, secrets=secrets, limit=limit)
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    trial.needing_password.sort()
    return trial
