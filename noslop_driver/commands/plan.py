# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Propose what each host does, and with `--save` write it as an inventory."""

from __future__ import annotations

from noslop_driver.cli.session import Options, open_session
from noslop_driver.commands.result import CommandResult
from noslop_driver.errors import ExitCode
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning import view
from noslop_driver.planning.draft import confirm_plan, draft_plan, find_blocking_error, write_inventory


def plan(options: Options, terminal: Terminal) -> CommandResult:
    """Gather the hosts and make a plan; with `--save`, write it as an inventory."""
    save = options.save
    with open_session(options, terminal, must_exist=False) as session:
        draft = draft_plan(session)
        view.print_plan(draft.plan, terminal)
        confirmed = draft.plan
        if save and terminal.interactive:
            confirmed = confirm_plan(draft, session, f"Write this to {session.studio.path}?")
        data = {"plan": confirmed.model_dump(mode="json"), "inventory": str(session.studio.path) if save else None}
        if error := find_blocking_error(confirmed):
            return CommandResult(error.code, data, str(error))
        if save:
            write_inventory(session.studio, confirmed, draft.gathered, session)
    return CommandResult(ExitCode.OK, data)
