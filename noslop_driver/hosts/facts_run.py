# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook noslop.studio.facts, which changes nothing on the hosts, with the privileges that they may give.

Members are looked at as root. A new host is looked at as an ordinary user, with a public key; the SSH password is sent
only where the key was refused, and the sudo password is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from noslop_driver.ansible.events import Event, Status
from noslop_driver.errors import DriverError
from noslop_driver.hosts import facts, sudo
from noslop_driver.hosts.login import Login
from noslop_driver.hosts.playbook_run import collect_events
from noslop_driver.inventory import render
from noslop_driver.models import Endpoint
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets, private_directory, write_private

PLAYBOOK = "noslop.studio.facts"


def run_as_root(
    inventory: Path, targets: Sequence[facts.Target], login: Login, terminal: Terminal, *, limit: str | None = None
) -> tuple[list[Event], Login]:
    """Look at members as root; if sudo needs another password than a flag gave, ask for it and run again.

    Returns:
        The events, and the login with the sudo password if it was asked for.

    Raises:
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    title = "Looking at the hosts"
    events = _run(inventory, title, login.secrets, terminal, become=True, limit=limit)
    problems = facts.parse_events(targets, login.user, events).problems
    asking = [
        problem.host
        for problem in problems
        if problem.kind in ("sudo_password_missing", "sudo_password_wrong") and problem.host
    ]
    if not asking or not terminal.can_ask_password:
        return events, login
    login = replace(login, secrets=sudo.ask_for_password(asking, login.secrets, terminal, inventory))
    return _run(inventory, title, login.secrets, terminal, become=True, limit=limit), login


def run_on_new_hosts(
    targets: Sequence[facts.Target], login: Login, known_hosts: Path, terminal: Terminal
) -> list[Event]:
    """Look at new hosts whose keys were accepted, as an ordinary user.

    Args:
        targets: the new hosts.
        login: the account, the key, and the SSH password for hosts that refuse the key.
        known_hosts: the file with the accepted keys.
        terminal: the terminal for progress.

    Raises:
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    events = _run_on_bootstrap_inventory(
        targets, replace(login, secrets=Secrets()), known_hosts, "Looking at the new hosts", terminal
    )
    problems = facts.parse_events(targets, login.user, events).problems
    refused = {problem.host for problem in problems if problem.kind == "auth_refused" and problem.host}
    password = login.secrets.ssh_password
    if refused and password:
        events = [event for event in events if event.host not in refused]
        events += _run_on_bootstrap_inventory(
            [target for target in targets if target.endpoint.name in refused],
            replace(login, secrets=Secrets(ssh_password=password)),
            known_hosts,
            "Logging in with the SSH password",
            terminal,
        )
    return events


def run_at_other_address(
    inventory: Path, endpoint: Endpoint, arguments: str, login: Login, terminal: Terminal
) -> list[Event]:
    """Look at a member at another address than the inventory's, as an ordinary user.

    Args:
        inventory: the studio's inventory.
        endpoint: the member's name, and the address to connect to.
        arguments: the extra arguments of ssh; only a key that is pinned for the member is valid.
        login: the passwords.
        terminal: the terminal for progress.

    Raises:
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    other = {
        "ansible_host": endpoint.address,
        "ansible_port": endpoint.port,
        "ansible_ssh_extra_args": arguments,
    }
    title = f"Looking at {endpoint.address}"
    secrets = Secrets(ssh_password=login.secrets.ssh_password)
    return _run(inventory, title, secrets, terminal, become=False, limit=endpoint.name, more=other)


def run_on_this_computer(
    target: facts.Target, login: Login, terminal: Terminal, *, member: bool
) -> tuple[list[Event], Login]:
    """Look at the computer that the driver runs on: as root if it is a member.

    Returns:
        The events, and the login with the sudo password if it was asked for.

    Raises:
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    with private_directory("noslop-facts-") as private:
        text = render.render_local_bootstrap_inventory(target.endpoint.name)
        inventory = write_private(private / "hosts.yml", text)
        if member:
            return run_as_root(inventory, [target], login, terminal)
        return _run(inventory, "Looking at this computer", Secrets(), terminal, become=False), login


def _run_on_bootstrap_inventory(
    targets: Sequence[facts.Target], login: Login, known_hosts: Path, title: str, terminal: Terminal
) -> list[Event]:
    """Run on hosts that have no inventory yet, and once more on those that ended the connection too early to tell why.

    `ssh` gives its reason last: a refused login can end it while Ansible still writes to it, and under load Ansible
    then reports its own failed write (`_send_initial_data` of its connection plugin ssh).
    """
    events = _run_on_targets(targets, login, known_hosts, title, terminal)
    problems = facts.parse_events(targets, login.user, events).problems
    cut_off = {problem.host for problem in problems if problem.kind == "not_sent" and problem.host}
    if not cut_off:
        return events
    again = [target for target in targets if target.endpoint.name in cut_off]
    events = [event for event in events if event.host not in cut_off]
    return events + _run_on_targets(again, login, known_hosts, title, terminal)


def _run_on_targets(
    targets: Sequence[facts.Target], login: Login, known_hosts: Path, title: str, terminal: Terminal
) -> list[Event]:
    text = render.render_bootstrap_inventory(
        [target.endpoint for target in targets],
        login.user,
        login.ssh_key,
        known_hosts,
        password=bool(login.secrets.ssh_password),
    )
    with private_directory("noslop-facts-") as private:
        return _run(write_private(private / "hosts.yml", text), title, login.secrets, terminal, become=False)


def _run(
    inventory: Path,
    title: str,
    secrets: Secrets,
    terminal: Terminal,
    *,
    become: bool,
    limit: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> list[Event]:
    """Run the playbook and return its events."""
    events, outcome = collect_events(
        PLAYBOOK,
        inventory,
        title,
        terminal,
        secrets=secrets,
        variables={"noslop_facts_become": become, **(more or {})},
        limit=limit,
    )
    if outcome.status is Status.ERROR:
        raise DriverError(f"Ansible could not gather the facts of the hosts. Its message: {outcome.output}")
    return events
