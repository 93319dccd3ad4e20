# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until nothing runs on a host, and stop its services; or start them again."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.noslop.studio.plugins.module_utils import studio as collection

from noslop_driver.commands.host.members import find_member
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult, HostDrainData
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import UsageError
from noslop_driver.hosts import sudo
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import DRAIN, START
from noslop_driver.records import Record

SERVICES = ("comfyui", "ollama")


def drain_host(studio: StudioDirectory, login: Login, options: Options, terminal: Terminal) -> CommandResult:
    """Wait until nothing runs on a host and stop Ollama and ComfyUI there; with `--undo`, start them again."""
    members = read_members(studio.path, login.user)
    member = find_member(members, str(options.member), studio)
    services = [collection.SERVICES[name].title for name in SERVICES if name in member.groups]
    if not services:
        raise UsageError(f"{member.name} runs neither ComfyUI nor Ollama, so there is nothing to wait for.")
    names = " and ".join(services)
    if not options.undo:
        terminal.print(
            f"This waits up to {options.timeout} s until {names} on {member.name} has nothing to do, and stops it. New "
            "jobs are not refused meanwhile: tell the people who use it."
        )
        terminal.require_consent(f"Drain {member.name}?")
    secrets = sudo.ask_where_needed(studio.path, login.secrets, terminal, member.name)
    record = Record(studio.records, "host drain", secrets)
    flags = " --undo" if options.undo else ""
    result, _members = run_phases(
        f"host drain {member.name}{flags}",
        (START if options.undo else DRAIN,),
        studio,
        login=replace(login, secrets=secrets),
        terminal=terminal,
        record=record,
        limit=member.name,
        variables={
            "noslop_drain_state": "started" if options.undo else "stopped",
            "noslop_drain_timeout": options.timeout,
        },
    )
    if result.complete and options.undo:
        terminal.print(f"{names} on {member.name} runs again.")
    elif result.complete:
        terminal.print(
            f"{names} on {member.name} is stopped, until it starts again: with the host, by the next deployment, or by "
            f"'noslop-driver host drain --undo {member.name}'."
        )
    data: HostDrainData = {
        **make_run_data(result, studio, record),
        "host": member.name,
        "services": [name for name in SERVICES if name in member.groups] if result.complete else [],
    }
    return CommandResult(result.code, data, result.message)
