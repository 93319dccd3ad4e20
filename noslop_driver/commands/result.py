# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command gives back: its exit code, its result for `--json`, and where the services answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.errors import ExitCode
from noslop_driver.inventory.directory import Member


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: ExitCode
    data: dict[str, Any]
    """For `--json`."""
    message: str = ""
    """What went wrong, for standard error."""


def service_addresses(members: Sequence[Member]) -> list[dict[str, str]]:
    """Where the services answer."""
    found = []
    # A service and the group of its hosts have one name.
    for group, (variable, port) in studio.PORTS.items():
        for member in members:
            if group in member.groups:
                address = member.studio_address
                where = f"[{address}]" if ":" in address else address
                url = f"http://{where}:{member.variables.get(variable, port)}"
                found.append({"service": group, "host": member.name, "url": url})
    return found
