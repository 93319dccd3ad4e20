# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what was installed. Data, packages and the account stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult, TeardownData
from noslop_driver.commands.studio import find_studio, lock_studio, read_members
from noslop_driver.errors import UsageError
from noslop_driver.hosts import presence
from noslop_driver.inventory import studio_yml
from noslop_driver.inventory.directory import Member
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import TEARDOWN, RunResult
from noslop_driver.records import Record


def teardown(options: Options, terminal: Terminal) -> CommandResult:
    """Remove what was installed; keep data, packages and the account."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    login = read_login(options, terminal)
    with lock_studio(studio, terminal):
        settings = studio.read_settings()
        if not options.check:
            terminal.print(f"This removes Ollama, ComfyUI, mounts, exports and rules from the hosts of {studio.path}.")
            terminal.print("Data, packages and the account noslop stay.")
            if not terminal.yes:
                typed = terminal.ask(f"Type the studio's name ({studio.name}) to continue", flag="--yes")
                if typed != studio.name:
                    raise UsageError(f"{typed!r} is not {studio.name!r}: nothing was changed.")
        here = presence.look(studio.path, read_members(studio.path, login.user), login, terminal, options.limit)
        login = replace(login, secrets=here.secrets)
        record = None if options.check else Record(studio.records, "teardown", here.secrets)
        result, members = run_phases(
            "teardown",
            (TEARDOWN,),
            studio,
            login=login,
            terminal=terminal,
            record=record,
            limit=options.limit,
            away=here.away,
            check=options.check,
        )
    kept = _list_kept(result, members, settings)
    if result.complete and not options.check:
        terminal.print("Kept:")
        for item in [*kept, f"the inventory and the records in {studio.path}"]:
            terminal.print(f"  {item}")
    data: TeardownData = {**make_run_data(result, studio, record), "kept": kept}
    return CommandResult(result.code, data, result.message)


def _list_kept(result: RunResult, members: Sequence[Member], settings: Mapping[str, Any]) -> list[str]:
    """Return what a teardown keeps: data, packages, the account, and what roles left because it is not the studio's."""
    kept = []
    if settings:
        server = ", ".join(member.name for member in members if "storage_server" in member.groups)
        shares = studio_yml.validate(settings, "studio.yml").shares()
        kept += [f"{share.path} on {server}" for share in shares]
    kept += ["the packages and the account noslop on every host"]
    kept += [f"{item} on {host}" for host, items in result.kept.items() for item in items]
    return list(dict.fromkeys(kept))
