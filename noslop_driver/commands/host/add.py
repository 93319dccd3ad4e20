# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add hosts to a studio: deploy them, and change of the others only what names the members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noslop_driver.commands.draft import draft_plan, find_blocking_error, write_inventory
from noslop_driver.commands.host.members import list_join_phases
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import BlockedPlanData, CommandResult, HostAddData
from noslop_driver.errors import UsageError
from noslop_driver.hosts import sudo
from noslop_driver.hosts.discovery import format_target
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import machines
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.models import Host
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning import view
from noslop_driver.records import Record


def add_hosts(studio: StudioDirectory, login: Login, options: Options, terminal: Terminal) -> CommandResult:
    """Discover the named hosts, have their keys and the plan confirmed, write the inventory, and deploy them."""
    if options.again:
        options = replace(options, hosts=_resolve_removed(options.hosts, studio))
    draft = draft_plan(options, studio, login, terminal)
    if draft.gathered.local:
        raise UsageError(
            f"{studio.path} is this computer alone, which no other machine reaches. Make a studio of several with "
            "'noslop-driver deploy --studio NAME --host ...'."
        )
    login = replace(login, secrets=draft.gathered.secrets)
    view.print_plan(draft.plan, terminal)
    if error := find_blocking_error(draft.plan):
        blocked: BlockedPlanData = {"plan": draft.plan.model_dump(mode="json")}
        return CommandResult(error.code, blocked, str(error))
    new = draft.new_hosts
    if not new:
        raise UsageError(
            f"None of {', '.join(options.hosts)} is new to {studio.path}, so none was added. 'noslop-driver deploy' "
            "brings the hosts that it has up to date."
        )
    # Not edited here, as `deploy` lets users do: what the other hosts do is not deployed by this command.
    terminal.require_consent(f"Add {', '.join(new)} like this?")
    write_inventory(studio, draft, login.ssh_key, terminal)
    if options.again:
        _allow_again(studio, [host for host in draft.plan.hosts if host.name in new])
    login = replace(login, secrets=sudo.ask_where_needed(studio.path, login.secrets, terminal, ",".join(new)))
    record = Record(studio.records, "host add", login.secrets)
    record.write_plan(draft.plan)
    others = [member.name for member in draft.gathered.members]
    result, _members = run_phases(
        "deploy",  # the inventory has the hosts now
        list_join_phases(new, others),
        studio,
        login=login,
        terminal=terminal,
        record=record,
        away=draft.gathered.away,
    )
    if result.complete:
        terminal.print(f"{', '.join(new)} works in {studio.path} now.")
    data: HostAddData = {
        **make_run_data(result, studio, record),
        "plan": draft.plan.model_dump(mode="json"),
        "added": new,
    }
    return CommandResult(result.code, data, result.message)


def _resolve_removed(names: Sequence[str], studio: StudioDirectory) -> list[str]:
    """Return the names with the address of each removed machine in place of the name that it had in the studio."""
    removed = {machine.name: format_target(machine.address, machine.port) for machine in machines.read(studio).removed}
    return [removed.get(name, name) for name in names]


def _allow_again(studio: StudioDirectory, hosts: Sequence[Host]) -> None:
    """Remove machines that are members again from the list of removed ones."""
    known_hosts = KnownHosts(studio.known_hosts)
    identities = machines.read(studio)
    again = [
        machine
        for machine in identities.removed
        for host in hosts
        if machine.matches(known_hosts.find_keys(host.address, host.port), host.machine_id)
    ]
    machines.write(studio, identities.allow_again(again))
