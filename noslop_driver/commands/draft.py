# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draft a plan from the gathered hosts and the settings, have it confirmed, and write it as an inventory."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio as collection

from noslop_driver.choices import PREFIX
from noslop_driver.commands import smb_access
from noslop_driver.commands.options import Options
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import DriverError, PreflightError, UnreachableError, UsageError
from noslop_driver.hosts import host_keys
from noslop_driver.hosts.discovery import SearchTargets, find_own_address
from noslop_driver.hosts.gather import GatheredHosts, gather_hosts, gather_this_computer, make_host_without_facts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import directory
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.render import Connection
from noslop_driver.models import Host, Plan, Problem, StudioSettings
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning import validation, view
from noslop_driver.planning.planner import make_plan, select_members
from noslop_driver.settings import merge, questions

_UNREACHABLE_KINDS = frozenset(
    {"auth_refused", "closed", "error", "host_key_changed", "host_key_unknown", "name", "no_route", "nothing_found"}
    | {"refused", "silent", "timeout"}
)
"""Kinds of problems of hosts that did not answer, or refused the login."""


@dataclass(frozen=True)
class PlanDraft:
    """A plan that is not confirmed yet, and the hosts it was made from."""

    plan: Plan
    gathered: GatheredHosts
    smb_passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Passwords of SMB users that were asked for, by name, to be written with the inventory."""

    @property
    def new_hosts(self) -> list[str]:
        """Return the names of the planned hosts that are not in the inventory yet."""
        members = {member.name for member in self.gathered.members}
        return [host.name for host in self.plan.hosts if host.name not in members]


def draft_plan(
    options: Options, studio: StudioDirectory, login: Login, terminal: Terminal, *, asks_passwords: bool = True
) -> PlanDraft:
    """Gather the hosts, merge the settings and make a plan. With `asks_passwords`, ask for those of new SMB users.

    Raises:
        DriverError: a setting is invalid, or gathering the hosts failed.
    """
    sources = read_sources(options, studio)
    gathered = _gather(options, studio, login, terminal)
    sources = _add_sources_of_hosts(sources, gathered, login.user)
    if not sources.previous and terminal.interactive:
        given = {*sources.file, *sources.flags}
        sources = replace(sources, answers=questions.ask_storage(merge.merge(sources), terminal, given=given))
    settings = merge.merge(sources)
    missing = smb_access.list_unwritten(settings, studio) if terminal.can_ask_password else []
    passwords = smb_access.ask(missing, terminal) if asks_passwords else {}
    smb_problems = smb_access.find_problems(settings, studio, gathered.members, given=missing)
    gathered = replace(gathered, problems=[*gathered.problems, *smb_problems])
    return replace(plan_hosts(gathered, settings), smb_passwords=passwords)


def read_sources(options: Options, studio: StudioDirectory) -> merge.Sources:
    """Return the settings of the options and of the studio, which together are valid.

    Raises:
        UsageError: a setting is invalid, or contradicts a file that was edited by hand.
    """
    previous = studio.read_settings()
    sources = merge.Sources(
        flags=smb_access.name_files(options.settings, previous),
        file=merge.read_file(options.config_file) if options.config_file else {},
        previous=previous,
        edited=studio.path / directory.STUDIO if studio.is_edited(directory.STUDIO) else None,
    )
    merge.merge(sources)  # reports invalid settings before the search, which needs time
    return sources


def draft_without_facts(
    options: Options,
    studio: StudioDirectory,
    members: Sequence[Member],
    new: Sequence[Host],
    login: Login,
    *,
    problems: Sequence[Problem] = (),
) -> PlanDraft:
    """Make the plan of an existing studio by its inventory, the options and new hosts. No host is asked for its facts.

    Args:
        options: the options, with the settings.
        studio: the directory of the studio.
        members: the hosts in its inventory.
        new: hosts that are not in it.
        login: the account for new hosts.
        problems: those of the search for new hosts.

    Raises:
        DriverError: a setting is invalid, or the options contradict the inventory.
    """
    local = all(member.local for member in members)
    hosts = [*map(make_host_without_facts, members), *new]
    gathered = GatheredHosts(hosts, [], list(members), login.secrets, local=local)
    sources = _add_sources_of_hosts(read_sources(options, studio), gathered, login.user)
    settings = merge.merge(sources)
    unwritten = smb_access.list_unwritten(settings, studio)
    smb_problems = smb_access.find_problems(settings, studio, members, given=unwritten)
    return plan_hosts(replace(gathered, problems=[*problems, *smb_problems]), settings)


def plan_hosts(gathered: GatheredHosts, settings: StudioSettings) -> PlanDraft:
    """Return the plan of the gathered hosts. A single host keeps its storage local, although the provider is `nfs`."""
    problems = gathered.problems
    members, _unfit = select_members(gathered.hosts, settings)
    if len(members) == 1 and settings.storage_provider == "nfs":
        settings = settings.replace(storage_provider="local")
        problems = [*problems, validation.report_single_host(members[0])]
    return PlanDraft(make_plan(gathered.hosts, settings, problems), gathered)


def confirm_plan(draft: PlanDraft, terminal: Terminal, question: str) -> PlanDraft:
    """Ask for confirmation, and let the user edit the plan until the answer is yes or no.

    Returns:
        The draft that was confirmed.

    Raises:
        DriverError: the answer was no.
    """
    while not terminal.yes:
        choices = ["yes", "edit", "no"] if not draft.plan.blocked else ["edit", "no"]
        answer = terminal.choose(question, choices, flag="--yes", default=choices[0])
        if answer == "yes":
            break
        if answer == "no":
            raise DriverError("You answered no: nothing was changed.")
        draft = replace(draft, plan=plan_hosts(draft.gathered, questions.edit_plan(draft.plan, terminal)).plan)
        view.print_plan(draft.plan, terminal)
    return draft


def find_blocking_error(plan: Plan) -> DriverError | None:
    """Return the error that ends the command if the plan is blocked, else None."""
    if not plan.blocked:
        return None
    fatal = [problem for problem in plan.problems if problem.fatal]
    # `no_hosts` is a consequence of the problems of the single hosts.
    causes = [problem for problem in fatal if problem.kind != "no_hosts"] or [
        problem for problem in plan.problems if problem.kind != "no_hosts"
    ]
    message = f"Nothing was changed: see the {len(fatal)} problems above." if len(fatal) > 1 else ""
    message = message or f"Nothing was changed. {fatal[0].what} {fatal[0].todo}"
    if causes and all(problem.kind in _UNREACHABLE_KINDS for problem in causes):
        return UnreachableError(message)
    return PreflightError(message)


def write_inventory(
    target: StudioDirectory, draft: PlanDraft, ssh_key: Path | None, terminal: Terminal, *, announce: bool = True
) -> None:
    """Write the plan as an inventory, and print what the user has to edit by hand.

    Args:
        target: the directory to write.
        draft: the plan that was confirmed.
        ssh_key: the key to log in with; None: the one in the inventory, if it has one.
        terminal: the terminal for notes.
        announce: print the names of the written files.

    Raises:
        UsageError: the plan changes a file that was edited by hand.
    """
    members = draft.gathered.members
    if members:
        if target.is_edited(directory.HOSTS):
            _reject_group_changes(target, draft.plan, members)
        present_key = members[0].variables.get("ansible_ssh_private_key_file")
        ssh_key = ssh_key or (Path(str(present_key)) if present_key else None)
    smb_access.write(target, draft.smb_passwords)
    written = target.write(
        draft.plan,
        Connection(ssh_key),
        existing_hosts=[member.name for member in members],
        local=draft.gathered.local,
        write_settings=not has_settings_elsewhere(target, members),
    )
    if written.files and announce:
        terminal.print(f"Written to {target.path}: {', '.join(written.files)}")
    for note in written.notes:
        terminal.warn(note)


def _gather(options: Options, studio: StudioDirectory, login: Login, terminal: Terminal) -> GatheredHosts:
    rule = host_keys.read_rule(accept_new_keys=options.accept_new_keys, file=options.host_keys)
    members: list[Member] = []
    if studio.exists:
        members = read_members(studio.path, login.user)
        terminal.print(f"{studio.path} has {', '.join(member.name for member in members)}.")
    reject_local(options, studio, members)
    if options.local or (members and all(member.local for member in members)):
        return gather_this_computer(members, login, terminal)
    search = SearchTargets(
        options.networks,
        options.hosts,
        options.port,
        options.user or "",
        mdns=options.mdns,
        own_keys=options.ssh_key is None,
    )
    return gather_hosts(
        studio,
        members,
        search,
        rule,
        login=login,
        terminal=terminal,
        limit=options.limit,
        check=options.check,
        again=options.again,
    )


def reject_local(options: Options, studio: StudioDirectory, members: Sequence[Member]) -> None:
    """Reject `--local` for a studio of other hosts than this computer.

    Raises:
        DriverError: the options have it, and the studio has others.
    """
    others = [member.name for member in members if not member.local]
    if options.local and others:
        raise DriverError(f"{studio.path} has other hosts than this computer: {', '.join(others)}. Leave out --local.")


def _add_sources_of_hosts(sources: merge.Sources, gathered: GatheredHosts, user: str) -> merge.Sources:
    """Return the sources with what the inventory's groups and the gathered hosts say about the settings."""
    present_roles = directory.read_roles(gathered.members)
    previous = sources.previous
    if gathered.members:
        previous = {**(previous or read_settings_outside_studio_yml(gathered.members)), **present_roles}
    # Services that are given for one host replace its own, not those of other hosts.
    roles = {**present_roles["roles"], **(sources.file.get("roles") or {}), **(sources.flags.get("roles") or {})}
    return replace(
        sources,
        flags={**sources.flags, "roles": roles},
        previous=previous,
        defaults=_make_defaults(gathered, user),
    )


def has_settings_elsewhere(studio: StudioDirectory, members: Sequence[Member]) -> bool:
    """Return whether a user keeps the studio's variables in their own files, and in no studio.yml."""
    return bool(read_settings_outside_studio_yml(members)) and not studio.read_settings()


def read_settings_outside_studio_yml(members: Sequence[Member]) -> dict[str, Any]:
    """Return the studio's variables of an inventory that has them in other files than studio.yml."""
    if not members:
        return {}
    return {
        name.removeprefix(PREFIX): value for name, value in members[0].variables.items() if name in collection.DEFAULTS
    }


def _make_defaults(gathered: GatheredHosts, user: str) -> dict[str, Any]:
    """Return the defaults of a new studio that depend on its hosts."""
    users = {host.user for host in gathered.hosts} or {user}
    defaults: dict[str, Any] = {"studio_id": str(uuid.uuid4()), "users": sorted(users - {"root"})}
    if gathered.local:
        return {**defaults, "storage_provider": "local"}
    if gathered.hosts:
        # The user at this computer needs access to the services.
        own_address = find_own_address(gathered.hosts[0].address)
        host_addresses = {address for host in gathered.hosts for address in (host.address, *host.addresses)}
        if own_address and own_address not in host_addresses:
            defaults["allowed_networks"] = [own_address]
    return defaults


def _reject_group_changes(studio: StudioDirectory, plan: Plan, members: Sequence[Member]) -> None:
    """Reject a plan that changes groups in an edited hosts.yml, which the driver does not write."""
    roles = {proposal.host: set(proposal.roles) for proposal in plan.proposals}
    changes = []
    for member in members:
        present, planned = set(member.groups), set(roles.get(member.name, member.groups))
        changes += [f"add {member.name} to {group}" for group in sorted(planned - present)]
        changes += [f"remove {member.name} from {group}" for group in sorted(present - planned)]
    if changes:
        path = studio.path / directory.HOSTS
        raise UsageError(f"{path} was edited by hand and is not written again. Do it there: {'; '.join(changes)}.")
