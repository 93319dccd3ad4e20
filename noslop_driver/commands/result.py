# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the result of a command, and list the addresses of the services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.errors import ExitCode
from noslop_driver.inventory.directory import Member


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    code: ExitCode
    data: dict[str, Any]
    """The result for `--json`."""
    message: str = ""
    """The error, for standard error; empty for none."""


def list_service_addresses(members: Sequence[Member]) -> list[dict[str, str]]:
    """Return service, host and URL of each service of the studio."""
    addresses = []
    # A service and the group of its hosts have the same name.
    for group, service in studio.SERVICES.items():
        for member in members:
            if group in member.groups:
                address = member.studio_address
                netloc = f"[{address}]" if ":" in address else address
                url = f"http://{netloc}:{member.variables.get(service.port_variable, service.port)}"
                addresses.append({"service": group, "host": member.name, "url": url})
    return addresses
