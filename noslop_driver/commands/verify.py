# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify a studio without changing it."""

from __future__ import annotations

import shlex
from dataclasses import replace

from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.studio import find_studio, lock_studio
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import presence, sudo
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import VERIFY, list_unreachable
from noslop_driver.records import Record


def verify(options: Options, terminal: Terminal) -> CommandResult:
    """Run the checks of the studio; change nothing."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    login = read_login(options, terminal)
    with lock_studio(studio, terminal):
        secrets = sudo.ask_where_needed(studio.path, login.secrets, terminal, options.limit)
        record = Record(studio.records, "verify", secrets)
        login = replace(login, secrets=secrets)
        result, members = run_phases(
            "verify", (VERIFY,), studio, login=login, terminal=terminal, record=record, limit=options.limit
        )
    data = make_run_data(result, studio, record)
    server = presence.find_server(members)
    checks = result.verification["checks"] if result.verification else []
    away = list_unreachable(checks)
    if away and not (server and server.name in away):
        names = ", ".join(away)
        reasons = {check["host"]: check["seen"] for check in checks if check["host"] in away}
        command = f"noslop-driver verify --inventory {shlex.quote(str(studio.path))}"
        message = f"{names} did not answer. Every check of the other hosts passed. To check again: {command}"
        return CommandResult(ExitCode.UNREACHABLE, {**data, "left_out": reasons}, message)
    # A host that cannot be reached is a check that did not pass.
    code = ExitCode.FAILED if result.code is ExitCode.UNREACHABLE else result.code
    return CommandResult(code, data, result.message)
