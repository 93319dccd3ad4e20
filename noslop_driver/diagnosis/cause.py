# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe a cause: one fault, what shows it, the checks that failed by it, and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check


class Risk(StrEnum):
    """The risk of a command beyond mending."""

    NONE = "none"
    RESTART = "restarts a service"
    REBOOT = "restarts the host"
    DATA = "changes data"


class Layer(IntEnum):
    """The order of causes: a fault of one layer has consequences in the later ones."""

    HOST = 0
    NETWORK = 1
    CLOCK = 2
    DISK = 3
    SERVER = 4
    FIREWALL = 5
    MOUNT = 6
    SERVICE = 7
    MODELS = 8
    LATER = 9
    """Faults that nothing suffers from yet."""


class UnitState(StrEnum):
    """The change that a step makes to a unit."""

    STARTED = "started"
    RESTARTED = "restarted"
    RELOADED = "reloaded"
    STOPPED = "stopped"
    ENABLED = "enabled"
    UNMASKED = "unmasked"


@dataclass(frozen=True)
class UnitStep:
    """One step with a unit of a host."""

    unit: str
    state: UnitState


@dataclass(frozen=True)
class RemountStep:
    """A remount of a share's path, so that it can be written to again."""

    path: str


@dataclass(frozen=True)
class PlaybookStep:
    """A run of one of the studio's phases, on the hosts that need it."""

    phase: str
    """storage, configure or services."""


Step = UnitStep | RemountStep | PlaybookStep


@dataclass(frozen=True)
class Remedy:
    """The remedy of a cause."""

    command: str
    """The command or the step, as a person does it."""
    risk: Risk = Risk.NONE
    steps: Sequence[Step] = ()
    """The same for `--fix`; empty for what only a person does."""
    works_now: bool = False
    """True if what is restarted works now, apart from this fault."""

    @property
    def fixable(self) -> bool:
        """Return whether `--fix` may do it: never what changes data."""
        return bool(self.steps) and self.risk is not Risk.DATA

    @property
    def safe(self) -> bool:
        """Return whether `--fix` does it without a question."""
        return self.fixable and (self.risk is Risk.NONE or not self.works_now)


@dataclass(frozen=True)
class Scope:
    """The failed checks that a cause explains: of these hosts, whose names begin with one of these words."""

    hosts: frozenset[str] | None
    """None for all."""
    checks: tuple[str, ...]
    shares: frozenset[str] | None = None
    """None for all, and for checks of no share."""
    mentions: str = ""
    """The text that the check must have, such as the name of a host; empty for any."""

    def matches(self, check: Check) -> bool:
        """Return whether a check is in it."""
        return (
            (self.hosts is None or check["host"] in self.hosts)
            and check["check"].startswith(self.checks)
            and self.mentions in check["seen"]
            and (self.shares is None or not check["share"] or check["share"] in self.shares)
        )


@dataclass(frozen=True)
class Cause:
    """One fault."""

    kind: str
    """Such as service.masked."""
    host: str
    layer: Layer
    what: str
    evidence: Sequence[str]
    remedy: Remedy
    explains: Sequence[Scope] = ()
    consequences: Sequence[Check] = ()
    """The failed checks that it explains and no cause before it."""
    recognised: bool = True
    """False for a failed check for which no cause was recognised."""

    @property
    def urgent(self) -> bool:
        """Return whether something suffers from it now."""
        return self.layer is not Layer.LATER or bool(self.consequences)
