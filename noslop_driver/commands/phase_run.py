# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run phases on a studio and return their result, for the commands deploy, upgrade, nodes, verify and teardown."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from noslop_driver import __version__
from noslop_driver.commands.result import PhaseData, RunData
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import DriverError, ExitCode
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import Phase, PhaseRunner, RunResult
from noslop_driver.records import Record


def run_phases(
    command: str,
    phases: Sequence[Phase],
    studio: StudioDirectory,
    *,
    login: Login,
    terminal: Terminal,
    record: Record | None,
    limit: str | None = None,
    away: Mapping[str, str] | None = None,
    check: bool = False,
    copy: StudioDirectory | None = None,
    variables: Mapping[str, Any] | None = None,
    phase_variables: Callable[[Phase], Mapping[str, Any]] = lambda _phase: {},
    details: Callable[[], Sequence[str]] | None = None,
) -> tuple[RunResult, list[Member]]:
    """Run phases on a studio, and close the record and the log in every case. Print the log's path after a failure.

    Args:
        command: the command, for the advice to run it again.
        phases: the phases, in order.
        studio: the directory of the studio.
        login: the passwords, and the account for hosts to which the inventory gives none.
        terminal: the terminal for progress.
        record: the record of the run, if there is to be one; the log lies in it.
        limit: a host pattern.
        away: the hosts that do not answer, each with the reason; they are left out.
        check: predict changes and make none.
        copy: a copy of the studio's inventory, to run on in its place.
        variables: variables that override the inventory's. No secrets.
        phase_variables: returns variables for one phase, just before it begins. No secrets.
        details: returns lines about what the current task does, for tasks that take long.

    Returns:
        The result, and the hosts of the inventory.
    """
    inventory = (copy or studio).path
    result = RunResult(ExitCode.FAILED, "The run ended before its end.")
    try:
        if record:
            terminal.log.start(record.log, login.secrets)
            terminal.log.add(f"noslop-driver {__version__} {command}")
        members = read_members(inventory, login.user)
        if record:
            record.write_inventory(members)
        result = PhaseRunner(
            terminal=terminal,
            inventory=inventory,
            members=members,
            secrets=login.secrets,
            record=record,
            retry_command=f"noslop-driver {command} --inventory {shlex.quote(str(studio.path))}",
            check=check,
            limit=limit,
            away=away or {},
            variables=variables or {},
            phase_variables=phase_variables,
            details=details,
        ).run(phases)
    except KeyboardInterrupt:
        result = RunResult(ExitCode.INTERRUPTED, "Stopped.")
        raise
    except DriverError as error:
        result = RunResult(error.code, str(error))
        raise
    finally:
        if record:
            record.finish(int(result.code), result.message, __version__)
            terminal.log.add(result.message or "The run succeeded.")
            terminal.log.stop()
            if result.code is not ExitCode.OK:
                terminal.print(f"Log of this run: {record.log}")
    return result, members


def make_run_data(result: RunResult, studio: StudioDirectory, record: Record | None) -> RunData:
    """Return the data of a run for `--json`."""
    return {
        "inventory": str(studio.path),
        "phases": [cast(PhaseData, asdict(phase)) for phase in result.phases],
        "verification": result.verification,
        "record": str(record.path) if record else None,
        "left_out": dict(result.left_out),
    }
