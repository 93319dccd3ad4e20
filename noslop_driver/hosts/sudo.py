# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for the sudo password where a member of the studio wants one and no flag gave it.

Whether one is wanted is tried with the inventory's own way of becoming root, before a phase begins: a password that is
missing on one host of several must not end a run half-way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from noslop_driver.ansible.events import Event, Status, message_of
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.cli.session import Session
from noslop_driver.errors import UsageError
from noslop_driver.hosts import ssh_errors
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


def ask_where_wanted(session: Session, inventory: Path, limit: str | None = None) -> Session:
    """Return a session that has the sudo password, where a member wants one and the session has none.

    Args:
        session: what the command works with.
        inventory: members, all of them agreed to.
        limit: a host pattern.

    Raises:
        UsageError: a host wants a password, and nobody can be asked.
        KeyboardInterrupt: it was stopped.
    """
    if session.secrets.become_password:
        return session
    with session.terminal.out.status("Looking whether sudo wants a password"):
        hosts = hosts_wanting_password(inventory, session.secrets, limit)
    return ask(session, hosts) if hosts else session


def ask(session: Session, hosts: Iterable[str]) -> Session:
    """Return a session that has the password that these hosts want.

    Raises:
        UsageError: nobody can be asked.
    """
    terminal = session.terminal
    names = ", ".join(hosts)
    if not terminal.may_ask_password:
        raise UsageError(
            f"sudo wants a password on {names}, and {terminal.why_not}. Pass --become-pass-file FILE with the password "
            "in a file, or let the account use sudo without one."
        )
    terminal.say(f"sudo wants a password on {names}.")
    password = ask_password("sudo password: ", "--ask-become-pass", "--become-pass-file", interactive=True)
    return replace(session, secrets=replace(session.secrets, become_password=password))


def hosts_wanting_password(inventory: Path, secrets: Secrets, limit: str | None = None) -> list[str]:
    """Return the hosts on which sudo refuses to work without a password; hosts that do not answer are not among them.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    wanting: list[str] = []

    def follow(event: Event) -> None:
        if event.kind == "failed" and ssh_errors.wants_sudo_password(message_of(event.result)):
            wanting.append(event.host)

    with private_directory("noslop-sudo-") as private:
        playbook = write_private(private / "sudo.yml", _PLAYBOOK)
        outcome = run_playbook(playbook, inventory, on_event=follow, secrets=secrets, limit=limit)
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return sorted(wanting)
