# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the result of `doctor`: what `--json` prints of causes and of what was mended."""

from __future__ import annotations

from typing import TypedDict

from noslop_driver.commands.result import RunData


class ConsequenceData(TypedDict):
    """A check that failed by a cause."""

    host: str
    check: str
    share: str
    observed: str


class CauseData(TypedDict):
    """A fault of a studio, with what mends it."""

    kind: str
    """Such as unit.masked; unrecognised for a failed check without a recognised cause."""
    host: str
    what: str
    evidence: list[str]
    command: str
    """The command that mends it, as a person does it on the host."""
    risk: str
    """none, restarts a service, restarts the host, or changes data."""
    fixable: bool
    """Whether `--fix` may do it."""
    urgent: bool
    """False for what nothing suffers from yet."""
    consequences: list[ConsequenceData]


class FixData(TypedDict):
    """The result of `--fix` for a cause."""

    kind: str
    host: str
    command: str
    mended: bool
    """Whether the cause was gone afterwards."""


class DoctorData(RunData):
    """The result of `doctor`: of its last verification."""

    causes: list[CauseData]
    not_examined: dict[str, str]
    """Hosts without evidence, each with the reason."""
    fixes: list[FixData]
    refused: list[CauseData]
    """Causes that `--fix` would have mended, and that the user did not agree to."""
    bundle: str | None
    """The archive that was written."""
