# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what was installed, and keep what people made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noslop_driver.cli.session import Options, open_session
from noslop_driver.commands.phase_run import phases_result, run_phases
from noslop_driver.commands.result import Answer
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts import sudo
from noslop_driver.inventory.directory import Member
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import TEARDOWN, Result
from noslop_driver.records import Record
from noslop_driver.settings import studio_yml


def teardown(options: Options, terminal: Terminal) -> Answer:
    """Take away what was installed, and keep what people made."""
    with open_session(options, terminal, must_exist=True) as opened:
        studio = opened.studio
        wished = studio.wishes()
        if not options.check:
            terminal.say(f"This takes Ollama, ComfyUI, mounts, exports and rules off the hosts of {studio.path}.")
            terminal.say("Data, packages and the account noslop stay.")
            if not terminal.yes:
                typed = terminal.ask(f"Type the studio's name ({studio.name}) to go on", flag="--yes")
                if typed != studio.name:
                    raise UsageError(f"{typed!r} is not {studio.name!r}: nothing was changed.")
        session = sudo.ask_where_wanted(opened, studio.path, options.limit)
        record = None if options.check else Record(studio.records, "teardown", session.secrets)
        result, members = run_phases((TEARDOWN,), session, record, "teardown")
    kept = _kept(result, members, wished)
    if result.code is ExitCode.OK and not options.check:
        terminal.say("Kept:")
        for thing in [*kept, f"the inventory and the records in {studio.path}"]:
            terminal.say(f"  {thing}")
    return Answer(result.code, {**phases_result(result, studio, record), "kept": kept}, result.message)


def _kept(result: Result, members: Sequence[Member], wished: Mapping[str, Any]) -> list[str]:
    """What a teardown leaves: data, packages, the account, and what a role left because it is somebody else's."""
    kept = []
    if wished:
        server = ", ".join(member.name for member in members if "storage_server" in member.groups)
        shares = studio_yml.validate({key: wished[key] for key in wished}, "studio.yml").shares()
        kept += [f"{share.path} on {server}" for share in shares]
    kept += ["the packages and the account noslop on every host"]
    kept += [f"{thing} on {host}" for host, things in result.kept.items() for thing in things]
    return list(dict.fromkeys(kept))
