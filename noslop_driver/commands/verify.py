# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify a studio without changing it."""

from __future__ import annotations

from dataclasses import replace

from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.studio import find_studio, lock_studio
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import sudo
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import VERIFY
from noslop_driver.records import Record


def verify(options: Options, terminal: Terminal) -> CommandResult:
    """Run the checks of the studio; change nothing."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    login = read_login(options, terminal)
    with lock_studio(studio, terminal):
        secrets = sudo.ask_where_needed(studio.path, login.secrets, terminal, options.limit)
        record = Record(studio.records, "verify", secrets)
        login = replace(login, secrets=secrets)
        result, _members = run_phases(
            "verify", (VERIFY,), studio, login=login, terminal=terminal, record=record, limit=options.limit
        )
    # A host that cannot be reached is a check that did not pass.
    code = ExitCode.FAILED if result.code is ExitCode.UNREACHABLE else result.code
    return CommandResult(code, make_run_data(result, studio, record), result.message)
