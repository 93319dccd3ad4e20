# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run phases on a studio and return their result, for the commands deploy, verify and teardown."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Sequence
from typing import Any

from noslop_driver import __version__
from noslop_driver.ansible.runner import list_inventory
from noslop_driver.cli.session import Session
from noslop_driver.errors import DriverError, ExitCode
from noslop_driver.inventory import directory
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.phases import Phase, PhaseRunner, RunResult
from noslop_driver.records import Record


def run_phases(
    phases: Sequence[Phase],
    session: Session,
    record: Record | None,
    command: str,
    *,
    target: StudioDirectory | None = None,
) -> tuple[RunResult, list[Member]]:
    """Run phases on the studio's inventory or a copy of it, and close the record in every case."""
    options, studio = session.options, session.studio
    path = (target or studio).path
    result = RunResult(ExitCode.FAILED, "The run ended before its end.")
    try:
        members = directory.read_members(list_inventory(path), options.user or getpass.getuser())
        if record:
            record.write_inventory(members)
        result = PhaseRunner(
            terminal=session.terminal,
            inventory=path,
            members=members,
            secrets=session.secrets,
            record=record,
            retry_command=f"noslop-driver {command} --inventory {shlex.quote(str(studio.path))}",
            check=options.check,
            limit=options.limit,
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
    return result, members


def make_result_data(result: RunResult, studio: StudioDirectory, record: Record | None) -> dict[str, Any]:
    """Return the data of a run for `--json`."""
    return {
        "inventory": str(studio.path),
        "phases": result.phases,
        "verification": result.verification,
        "record": str(record.path) if record else None,
    }
