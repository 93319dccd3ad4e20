# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Propose what each host does, and with `--save` write it as an inventory, with `--diff` compare it with the studio."""

from __future__ import annotations

from noslop_driver.commands.draft import confirm_plan, draft_plan, find_blocking_error, write_inventory
from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.plan_diff.compare import compare_plan
from noslop_driver.commands.result import CommandResult, PlanData
from noslop_driver.commands.studio import find_studio, lock_studio
from noslop_driver.errors import ExitCode
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning import view


def plan(options: Options, terminal: Terminal) -> CommandResult:
    """Gather the hosts and make a plan; with `--save`, write it; with `--diff`, compare it with the studio instead."""
    if options.compare or options.exit_code:
        return compare_plan(options, terminal)
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=False)
    login = read_login(options, terminal)
    with lock_studio(studio, terminal):
        draft = draft_plan(options, studio, login, terminal, asks_passwords=options.save)
        view.print_plan(draft.plan, terminal)
        if options.save and terminal.interactive:
            draft = confirm_plan(draft, terminal, f"Write this to {studio.path}?")
        data: PlanData = {
            "plan": draft.plan.model_dump(mode="json"),
            "inventory": str(studio.path) if options.save else None,
        }
        if error := find_blocking_error(draft.plan):
            return CommandResult(error.code, data, str(error))
        if options.save:
            write_inventory(studio, draft, login.ssh_key, terminal)
    if away := draft.gathered.away:
        message = f"Planned without looking at {', '.join(away)}. {' '.join(away.values())}"
        return CommandResult(ExitCode.UNREACHABLE, data, message)
    return CommandResult(ExitCode.OK, data)
