# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook noslop.studio.versions, which reads as an ordinary user which versions of the services run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noslop_driver.ansible.events import Event, Status
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.errors import DriverError, UnreachableError
from noslop_driver.output.progress import Progress
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets

PLAYBOOK = "noslop.studio.versions"


@dataclass(frozen=True)
class ServiceVersion:
    """A service on a host, with the version that runs (empty: none) and the one that it is to have."""

    host: str
    service: str
    runs: str
    wanted: str

    @property
    def differs(self) -> bool:
        """Return whether another version runs."""
        return self.runs != self.wanted


def list_versions(
    inventory: Path, terminal: Terminal, secrets: Secrets, variables: Mapping[str, Any], limit: str | None = None
) -> list[ServiceVersion]:
    """Return the services of the hosts with their versions.

    Args:
        inventory: the directory of the studio.
        terminal: the terminal for progress.
        secrets: the SSH password, if there is one.
        variables: variables that override the inventory's.
        limit: a host pattern.

    Raises:
        UnreachableError: a host cannot be reached.
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    progress = Progress(terminal, secrets=secrets)
    versions: list[ServiceVersion] = []

    def follow(event: Event) -> None:
        progress.show_event(event)
        for entry in event.result.get("service_versions") or [] if event.kind == "ok" else []:
            versions.append(ServiceVersion(event.host, *(str(entry[key]) for key in ("service", "runs", "wanted"))))

    progress.start_phase("Looking at the versions")
    try:
        outcome = run_playbook(
            PLAYBOOK,
            inventory,
            on_event=follow,
            on_interrupt=progress.print_note,
            on_output=progress.show_output,
            secrets=secrets,
            extra_vars=variables,
            limit=limit,
            verbosity=terminal.verbosity,
        )
    finally:
        progress.close()
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    if not outcome.ok:
        text = "; ".join(f"{failure.host}: {failure.message}" for failure in outcome.failures) or outcome.output
        error = UnreachableError if outcome.status is Status.UNREACHABLE else DriverError
        raise error(f"The versions of the services cannot be read: {text}. Nothing was changed.")
    return sorted(versions, key=lambda one: (one.service, one.host))
