# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a host from a studio, whether it answers or not, and remove its export, rule and key at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noslop_driver.commands.host.members import (
    confirm_dead,
    describe_member,
    find_member,
    get_pinned_keys,
    join_results,
    list_change_phases,
    list_mentions,
    require_removable,
    run_teardown,
)
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult, HostRemoveData
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import presence
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import host_edit, machines
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.models import Endpoint
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import VERIFY, RunResult
from noslop_driver.records import Record

COMMAND = "host remove"


def remove_host(studio: StudioDirectory, login: Login, options: Options, terminal: Terminal) -> CommandResult:
    """Show what goes and what stays, have it confirmed, remove the host, and change the others."""
    members = read_members(studio.path, login.user)
    member = find_member(members, str(options.member), studio)
    require_removable(member, members, studio)
    texts = host_edit.plan_removal(studio, member.name)
    here = presence.look(studio.path, members, login, terminal)
    login = replace(login, secrets=here.secrets)
    if member.name in here.away:
        confirm_dead(member, here.away[member.name], options, terminal)
    dead = options.dead or member.name in here.away
    others = [other.name for other in members if other is not member]
    _print_removal(studio, member, others, terminal, dead=dead, files=list(texts))
    terminal.require_consent(f"Remove {member.name}?")

    torn_down = None
    if not dead:
        torn_down, record = run_teardown((COMMAND, ""), member, studio, login, terminal)
        if not torn_down.complete:
            return CommandResult(torn_down.code, _make_data(torn_down, studio, record, member), torn_down.message)
    forget_member(studio, member)
    studio.change_files(texts)
    record = Record(studio.records, COMMAND, login.secrets)
    result, _members = run_phases(
        "deploy",  # the inventory does not have the host any more
        [*list_change_phases(others), VERIFY],
        studio,
        login=login,
        terminal=terminal,
        record=record,
        away={name: reason for name, reason in here.away.items() if name != member.name},
    )
    result = join_results(torn_down, result)
    if result.complete:
        terminal.print(f"{member.name} is no host of {studio.path} any more.")
    elif result.code is not ExitCode.INTERRUPTED:
        result.message = f"{member.name} was removed from the inventory, but {result.message}"
    for item in result.kept.get(member.name, []):
        terminal.print(f"  kept on {member.name}: {item}")
    return CommandResult(result.code, _make_data(result, studio, record, member), result.message)


def forget_member(studio: StudioDirectory, member: Member) -> None:
    """Remove the key and the facts of a member, and refuse its machine from now on."""
    machines.write(studio, machines.read(studio).remove_member(member, get_pinned_keys(studio, member)))
    machines.forget_facts(studio, member.name)
    endpoint = Endpoint(name=member.name, address=member.address, port=member.port)
    KnownHosts(studio.known_hosts).forget(endpoint)


def _print_removal(
    studio: StudioDirectory,
    member: Member,
    others: Sequence[str],
    terminal: Terminal,
    *,
    dead: bool,
    files: Sequence[str],
) -> None:
    """Print what is removed, what is kept, and what a user has to edit."""
    lines = [
        f"Services, mounts and rules stay on {member.name}, which is not contacted: they no longer reach the studio."
        if dead
        else f"{member.name}: Ollama, ComfyUI, mounts, units and rules go. Data, packages and accounts stay.",
        f"{', '.join(others)}: its export, its firewall rule and what the backend has of it go.",
        f"{studio.path}: its entry in {', '.join(files)} and its SSH host key go. Files in host_vars stay.",
        f"The machine is refused until you run: noslop-driver host add --again {member.name}",
    ]
    terminal.print(f"This removes {describe_member(member)} from the studio.")
    for line in lines:
        terminal.print(f"  {line}")
    for mention in list_mentions(studio, member.name):
        terminal.warn(f"{mention}. Change it before the next deployment.")


def _make_data(result: RunResult, studio: StudioDirectory, record: Record, member: Member) -> HostRemoveData:
    return {**make_run_data(result, studio, record), "host": member.name, "kept": result.kept.get(member.name, [])}
