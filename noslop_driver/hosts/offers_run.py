# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook noslop.studio.offers, which asks each host's ComfyUI which classes and files it offers."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noslop_driver.ansible.events import Status
from noslop_driver.errors import DriverError
from noslop_driver.hosts.playbook_run import collect_events
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets
from noslop_driver.workflows.requirements import Offers

PLAYBOOK = "noslop.studio.offers"
_RESULT = "comfyui_offers"
"""The module, and the key of its result."""


@dataclass(frozen=True)
class StudioOffers:
    """The offers of the hosts, and of the others why they could not be asked, each by the host's name."""

    offers: dict[str, Offers] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Folders that the ComfyUI of a host could not list."""
    unreachable: bool = False
    """True if a host did not answer, or refused the login."""


def ask_hosts(
    inventory: Path,
    terminal: Terminal,
    secrets: Secrets,
    *,
    classes: Sequence[str],
    files: Sequence[str],
    expected: Sequence[str] = (),
) -> StudioOffers:
    """Return what the hosts offer of these classes and files.

    Args:
        inventory: the directory of the studio.
        terminal: the terminal for progress.
        secrets: the SSH password, if there is one.
        classes: names of node classes.
        files: names of models, with their directory below the folder.
        expected: paths of files that were just fetched, which the hosts list after some seconds.

    Raises:
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    request = json.dumps({"classes": list(classes), "files": list(files), "expected": list(expected)})
    # In Base64, because Ansible would read a name with braces as a template, and a workflow may come from anywhere.
    variables = {"noslop_offers_request": base64.b64encode(request.encode()).decode("ascii")}
    events, outcome = collect_events(
        PLAYBOOK, inventory, "Asking ComfyUI on the hosts", terminal, secrets=secrets, variables=variables
    )
    if outcome.status is Status.ERROR:
        raise DriverError(f"Ansible could not ask the hosts what they offer. Its message: {outcome.output}")
    result = StudioOffers(
        problems={failure.host: failure.message for failure in outcome.failures},
        unreachable=outcome.status is Status.UNREACHABLE,
    )
    for event in events:
        value = event.result.get(_RESULT)
        if event.kind == "ok" and isinstance(value, dict):
            result.offers[event.host] = _read_offers(value)
            result.notes[event.host] = [f"{folder}: {why}" for folder, why in value["unreadable"].items()]
    return result


def _read_offers(value: dict[str, Any]) -> Offers:
    return Offers(str(value["version"]), value["classes"], value["files"])
