# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mend causes: without a question what is safe, after one what restarts a service that works, and never data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.markup import escape

from noslop_driver.commands.diagnosis_view import describe_cause
from noslop_driver.commands.doctor_result import FixData
from noslop_driver.commands.phase_run import run_phases
from noslop_driver.diagnosis.cause import Cause, PlaybookStep, RemountStep, Step, UnitStep
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import REPAIR, SERVICES, STORAGE, Phase
from noslop_driver.records import Record

_PHASES = {phase.name: phase for phase in (STORAGE, SERVICES)}


@dataclass(frozen=True)
class Fixed:
    """The causes that were to be mended, those that stay all the same, and those that the user did not agree to."""

    tried: Sequence[Cause] = ()
    staying: Sequence[Cause] = ()
    refused: Sequence[Cause] = ()

    def make_data(self) -> list[FixData]:
        """Return what was done for `--json`."""
        return [
            {
                "kind": cause.kind,
                "host": cause.host,
                "command": cause.remedy.command,
                "mended": cause not in self.staying,
            }
            for cause in self.tried
        ]


NOTHING = Fixed()


def fix(causes: Sequence[Cause], login: Login, studio: StudioDirectory, terminal: Terminal) -> Fixed:
    """Mend what may be mended, and record it.

    Without a terminal and without `--yes`, what needs a question is left.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    chosen = [cause for cause in causes if cause.remedy.safe]
    refused: list[Cause] = []
    for cause in causes:
        if not cause.remedy.fixable or cause.remedy.safe:
            continue
        asked = terminal.yes or terminal.interactive
        question = f"{cause.host}: {cause.remedy.command} (risk: {cause.remedy.risk.value}). Do it?"
        (chosen if asked and terminal.confirm(question, default=False) else refused).append(cause)
    if refused and not (terminal.yes or terminal.interactive):
        terminal.print(f"Left as they are, since {terminal.no_input_reason}: {_list_hosts(refused)}. --yes agrees.")
    if not chosen:
        terminal.print("Nothing to mend without you." if causes else "Nothing to mend.")
        return Fixed(refused=refused)
    record = Record(studio.records, "doctor --fix", login.secrets)
    terminal.print("Mending:")
    for cause in chosen:
        terminal.print(f"  {cause.host}: {cause.remedy.command}")
    result, _members = run_phases(
        "doctor --fix",
        list_phases(chosen),
        studio,
        login=login,
        terminal=terminal,
        record=record,
        variables={"noslop_repair_steps": make_steps(chosen)},
    )
    if result.message:
        terminal.warn(result.message)
    return Fixed(chosen, refused=refused)


def list_phases(causes: Iterable[Cause]) -> list[Phase]:
    """Return the phases that mend causes, each on the hosts that need it: units first, then what installs anew."""
    units: dict[str, None] = {}
    installs: dict[str, dict[str, None]] = {}
    for cause in causes:
        for step in cause.remedy.steps:
            (installs.setdefault(step.phase, {}) if isinstance(step, PlaybookStep) else units)[cause.host] = None
    phases = [replace(REPAIR, limit=",".join(units))] if units else []
    return [
        *phases,
        *(replace(phase, limit=",".join(installs[name])) for name, phase in _PHASES.items() if name in installs),
    ]


def make_steps(causes: Iterable[Cause]) -> dict[str, list[dict[str, str]]]:
    """Return the steps of the playbook noslop.studio.repair, by host."""
    steps: dict[str, list[dict[str, str]]] = {}
    for cause in causes:
        for step in cause.remedy.steps:
            made = _make_step(step)
            own = steps.setdefault(cause.host, [])
            own += [made] if made and made not in own else []
    return {host: own for host, own in steps.items() if own}


def _make_step(step: Step) -> dict[str, str]:
    if isinstance(step, UnitStep):
        return {"unit": step.unit, "state": step.state.value}
    return {"remount": step.path} if isinstance(step, RemountStep) else {}


def compare(fixed: Fixed, before: Sequence[Cause], after: Sequence[Cause]) -> Fixed:
    """Return what was mended, by the causes before and after. A unit that fails otherwise now is not mended."""
    same = {_identify(cause) for cause in after}
    units = {(cause.host, _name_unit(cause)) for cause in after if _name_unit(cause)}
    staying = [
        cause
        for cause in fixed.tried
        if cause in before and (_identify(cause) in same or (cause.host, _name_unit(cause)) in units)
    ]
    return replace(fixed, staying=staying)


def print_fixes(fixed: Fixed, terminal: Terminal) -> None:
    """Print what is mended, and what stays as it was."""
    for cause in fixed.tried:
        if cause in fixed.staying:
            terminal.print_markup("[red]stays:[/] " + _escape(cause))
        else:
            terminal.print_markup("[green]mended:[/] " + _escape(cause))


def _escape(cause: Cause) -> str:
    return escape(describe_cause(cause))


def _identify(cause: Cause) -> tuple[str, str, str]:
    return cause.kind, cause.host, cause.what


def _name_unit(cause: Cause) -> str:
    """Return the unit that a cause is about; empty where it is about none."""
    units = [step.unit for step in cause.remedy.steps if isinstance(step, UnitStep)]
    return units[-1] if units else ""


def _list_hosts(causes: Iterable[Cause]) -> str:
    return "; ".join(f"{cause.host}: {cause.remedy.command}" for cause in causes)
