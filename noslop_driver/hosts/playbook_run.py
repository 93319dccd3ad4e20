# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook that only reads, under a line of progress, and collect its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noslop_driver.ansible.events import Event, Outcome, Status
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import Member
from noslop_driver.output.progress import Progress
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets

MOST_FORKS = 50


def collect_events(
    playbook: str,
    inventory: Path,
    title: str,
    terminal: Terminal,
    *,
    secrets: Secrets,
    variables: Mapping[str, Any],
    limit: str | None = None,
    forks: int = 0,
) -> tuple[list[Event], Outcome]:
    """Run `playbook` and return its events in their order, and how it ended.

    Args:
        playbook: its full name, such as noslop.studio.facts.
        inventory: the file or directory of the inventory.
        title: what the progress says is being done.
        terminal: the terminal for progress.
        secrets: the passwords that may be sent.
        variables: variables that override the inventory's.
        limit: a host pattern.
        forks: the number of hosts at once; 0: that of Ansible's configuration.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    progress = Progress(terminal, secrets=secrets)
    events: list[Event] = []

    def follow(event: Event) -> None:
        events.append(event)
        progress.show_event(event)

    progress.start_phase(title)
    try:
        outcome = run_playbook(
            playbook,
            inventory,
            on_event=follow,
            on_interrupt=progress.print_note,
            on_output=progress.show_output,
            secrets=secrets,
            extra_vars=variables,
            limit=limit,
            forks=forks,
            verbosity=terminal.verbosity,
        )
    finally:
        progress.close()
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return events, outcome


def ask_members(
    playbook: str, inventory: Path, members: Sequence[Member], login: Login, terminal: Terminal, *, title: str
) -> tuple[list[Event], Outcome]:
    """Run `playbook`, which asks each member once, on all of them at a time. See `collect_events`."""
    return collect_events(
        playbook,
        inventory,
        title,
        terminal,
        secrets=login.secrets,
        variables={},
        forks=min(len(members), MOST_FORKS),
    )
