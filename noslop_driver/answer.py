# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command gives back: its exit code, its result for `--json`, and where the services answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noslop_driver.errors import ExitCode
from noslop_driver.inventory import Member

PORTS = {
    "comfyui": ("comfyui_port", 8188),
    "ollama": ("ollama_port", 11434),
    "backend": ("studio_backend_port", 8765),
}
"""Group to the variable that moves its port, and where it is unless moved."""


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
    for group, (variable, port) in PORTS.items():
        for member in members:
            if group in member.groups:
                address = member.studio_address
                where = f"[{address}]" if ":" in address else address
                url = f"http://{where}:{member.variables.get(variable, port)}"
                found.append({"service": group, "host": member.name, "url": url})
    return found
