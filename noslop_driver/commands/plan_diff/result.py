# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the result of `plan --diff`: what `--json` prints of a plan that is compared with the studio as it is."""

from __future__ import annotations

from typing import TypedDict

from noslop_driver.commands.result import LookData


class InventoryChangeData(TypedDict):
    """A difference between an inventory and a plan. `old` and `new` are texts: addresses, groups or YAML on one line.

    `kind` is host added, host removed, roles or variable. `host` is empty for a variable of the studio.
    """

    kind: str
    host: str
    variable: str
    old: str
    new: str
    file: str
    """The file in which it stands or goes, below the studio's directory."""
    also_in: list[str]
    """Other files that set the variable."""
    by_hand: bool
    """Whether a user has to write it, because the file is theirs."""


class ObstacleData(TypedDict):
    """A problem that prevents the deployment of the plan, and the next step."""

    kind: str
    host: str | None
    what: str
    todo: str


class PlanDiffData(TypedDict):
    """The result of `plan --diff`."""

    inventory: str
    exists: bool
    """False for a new studio, of which everything differs."""
    different: bool
    """Whether something differs in the inventory, or on a host that answered."""
    changes: list[InventoryChangeData]
    obstacles: list[ObstacleData]
    look: LookData | None
    """None for a new studio."""
    left_out: dict[str, str]
    """Hosts that could not be looked at, each with the reason."""
    summary: str
    """The last sentence: what a deployment would run, and why."""
    deploy: str
    """The command that would do it; empty where nothing is to do."""
