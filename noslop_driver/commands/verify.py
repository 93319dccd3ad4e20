# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify a studio without changing it."""

from __future__ import annotations

from noslop_driver.cli.session import Options, open_session
from noslop_driver.commands.phase_run import make_result_data, run_phases
from noslop_driver.commands.result import CommandResult
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import sudo
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import VERIFY
from noslop_driver.records import Record


def verify(options: Options, terminal: Terminal) -> CommandResult:
    """Run the checks of the studio; change nothing."""
    with open_session(options, terminal, must_exist=True) as opened:
        session = sudo.ask_where_needed(opened, opened.studio.path, options.limit)
        record = Record(session.studio.records, "verify", session.secrets)
        result, _members = run_phases((VERIFY,), session, record, "verify")
    # A host that cannot be reached is a check that did not pass.
    if result.code is ExitCode.UNREACHABLE:
        result.code = ExitCode.FAILED
    return CommandResult(result.code, make_result_data(result, session.studio, record), result.message)
