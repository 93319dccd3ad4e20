# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook noslop.studio.versions, which reads as an ordinary user which versions of the services run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noslop_driver.ansible.events import Status
from noslop_driver.errors import DriverError, UnreachableError
from noslop_driver.hosts.playbook_run import collect_events
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


@dataclass(frozen=True)
class StudioVersions:
    """The services of the hosts that answer, and the message of Ansible about each of the others."""

    services: list[ServiceVersion]
    unreachable: dict[str, str]


def list_versions(
    inventory: Path, terminal: Terminal, secrets: Secrets, variables: Mapping[str, Any], limit: str | None = None
) -> StudioVersions:
    """Return the services of the hosts with their versions.

    Args:
        inventory: the directory of the studio.
        terminal: the terminal for progress.
        secrets: the SSH password, if there is one.
        variables: variables that override the inventory's.
        limit: a host pattern.

    Raises:
        UnreachableError: no host can be reached.
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    events, outcome = collect_events(
        PLAYBOOK, inventory, "Looking at the versions", terminal, secrets=secrets, variables=variables, limit=limit
    )
    reached = any(not stats.unreachable for stats in outcome.stats.values())
    if not outcome.ok and not (outcome.status is Status.UNREACHABLE and reached):
        text = "; ".join(f"{failure.host}: {failure.message}" for failure in outcome.failures) or outcome.output
        error = UnreachableError if outcome.status is Status.UNREACHABLE else DriverError
        raise error(f"The versions of the services cannot be read: {text}. Nothing was changed.")
    versions = [
        ServiceVersion(event.host, *(str(entry[key]) for key in ("service", "runs", "wanted")))
        for event in events
        if event.kind == "ok"
        for entry in event.result.get("service_versions") or []
    ]
    unreachable = {failure.host: failure.message for failure in outcome.failures if failure.unreachable}
    return StudioVersions(sorted(versions, key=lambda one: (one.service, one.host)), unreachable)
