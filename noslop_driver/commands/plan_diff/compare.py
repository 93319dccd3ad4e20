# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a plan with the studio as it is: with its inventory, and with its hosts by one look at each.

Writes nothing, logs in to members only, and takes neither the lock of the studio's directory nor the lease of its
storage server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import shorten

from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.choices import PREFIX
from noslop_driver.commands.draft import (
    PlanDraft,
    draft_without_facts,
    find_blocking_error,
    has_settings_elsewhere,
    read_settings_outside_studio_yml,
    read_sources,
    reject_local,
)
from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.plan_diff import view as comparison_view
from noslop_driver.commands.plan_diff.result import PlanDiffData
from noslop_driver.commands.plan_diff.view import NOT_COMPARED, HostState
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.second_run import has_other_key, look_at_hosts, print_drift
from noslop_driver.commands.studio import find_studio
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts import facts, gather, moved, ssh_config, ssh_errors
from noslop_driver.hosts.deployed_run import HostLook, StudioLook
from noslop_driver.hosts.discovery import SearchTargets
from noslop_driver.hosts.login import Login
from noslop_driver.hosts.status_run import explain_failure
from noslop_driver.inventory import directory, fingerprint, machines
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.models import Host, Problem
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning import view
from noslop_driver.planning.inventory_changes import Change, ChangeKind, list_host_changes, list_setting_changes
from noslop_driver.planning.second_run import Decision, Need, decide, list_drift


@dataclass(frozen=True)
class _Matches:
    """The machines of a search for the hosts of the options."""

    new: Sequence[Host] = ()
    moved: Mapping[str, str] = field(default_factory=dict)
    """The new addresses of members, by name."""
    problems: Sequence[Problem] = ()
    named: bool = True
    """False where the facts of a new host decide its name."""


def compare_plan(options: Options, terminal: Terminal) -> CommandResult:
    """Print how the plan of the options differs from the studio as it is.

    Raises:
        DriverError: the options contradict each other or the inventory, or a setting is invalid.
    """
    _reject_options(options)
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=False)
    if not studio.exists:
        return _report_new_studio(options, studio, terminal)
    login = read_login(options, terminal)
    listing = list_inventory(studio.path)
    members = ssh_config.resolve_members(directory.read_members(listing, login.user))
    reject_local(options, studio, members)
    read_sources(options, studio)  # rejects invalid settings before the search, which needs time
    matches = _search(options, studio, members, terminal)
    draft = _draft(options, studio, members, matches, login)
    changes = [
        comparison_view.place_change(change, studio, members, login.secrets)
        for change in _list_changes(draft, studio, members, matches, options)
    ]
    comparison_view.print_changes(changes, studio, terminal)
    obstacles = [problem for problem in draft.plan.problems if problem.fatal]
    view.print_problems(obstacles, terminal)
    state = _look_at_hosts(studio, listing, members, login, terminal)
    deploy = comparison_view.name_deployment(options.given)
    names = [proposal.host for proposal in draft.plan.proposals]
    summary = comparison_view.summarize(names, changes, state, obstacles, deploy)
    terminal.print(summary)
    different = bool(changes) or state.by_answers.need is not Need.NOTHING
    data: PlanDiffData = {
        "inventory": str(studio.path),
        "exists": True,
        "different": different,
        "changes": changes,
        "obstacles": [
            {"kind": problem.kind, "host": problem.host, "what": problem.what, "todo": problem.todo}
            for problem in obstacles
        ],
        "look": state.look.as_data(),
        "left_out": {name: f"{problem.what} {problem.todo}" for name, problem in state.left_out.items()},
        "summary": summary,
        "deploy": deploy if different or state.left_out else "",
    }
    if error := find_blocking_error(draft.plan):
        return CommandResult(error.code, data, str(error))
    if state.left_out:
        message = f"{', '.join(state.left_out)} could not be looked at; the reasons are above. The rest is compared."
        return CommandResult(ExitCode.UNREACHABLE, data, message)
    return CommandResult(_choose_code(options, different=different), data)


def _reject_options(options: Options) -> None:
    if not options.compare:
        raise UsageError("--exit-code is for a comparison: add --diff.")
    if options.save:
        raise UsageError("--diff writes nothing and --save writes the plan: leave one of them out.")
    if options.limit:
        raise UsageError("--diff looks at every host of the studio: leave out --limit.")


def _report_new_studio(options: Options, studio: StudioDirectory, terminal: Terminal) -> CommandResult:
    read_sources(options, studio)  # rejects invalid settings
    deploy = comparison_view.name_deployment(options.given)
    summary = f"Everything is new: {studio.path} has no inventory. To make the studio: {deploy}"
    terminal.print(summary)
    data: PlanDiffData = {
        "inventory": str(studio.path),
        "exists": False,
        "different": True,
        "changes": [],
        "obstacles": [],
        "look": None,
        "left_out": {},
        "summary": summary,
        "deploy": deploy,
    }
    return CommandResult(_choose_code(options, different=True), data)


def _choose_code(options: Options, *, different: bool) -> ExitCode:
    return ExitCode.DIFFERENT if different and options.exit_code else ExitCode.OK


def _search(options: Options, studio: StudioDirectory, members: Sequence[Member], terminal: Terminal) -> _Matches:
    """Search the networks and hosts of the options for new hosts, and for members at other addresses."""
    search = SearchTargets(
        options.networks, options.hosts, options.port, options.user or "", own_keys=options.ssh_key is None
    )
    if not search.named:
        return _Matches()
    candidates, problems = gather.search_new_hosts(search, members, machines.read(studio), terminal)
    matched = list(moved.match_members(studio, members, candidates))
    new = [candidate for candidate, member in matched if member is None]
    endpoints = [target.endpoint for target in facts.make_targets(new)]
    hosts = [
        Host(name=endpoint.name, address=endpoint.address, port=endpoint.port, user=endpoint.user, ssh=endpoint.ssh)
        for endpoint in endpoints
    ]
    addresses = {member.name: candidate.address for candidate, member in matched if member}
    return _Matches(hosts, addresses, problems, all(candidate.hostname for candidate in new))


def _draft(
    options: Options, studio: StudioDirectory, members: Sequence[Member], matches: _Matches, login: Login
) -> PlanDraft:
    draft = draft_without_facts(options, studio, members, matches.new, login, problems=matches.problems)
    if matches.named:
        return draft
    # A setting may name a new host by the name that its facts have.
    problems = [problem for problem in draft.plan.problems if problem.kind != "unknown_host"]
    return replace(draft, plan=draft.plan.model_copy(update={"problems": problems}))


def _list_changes(
    draft: PlanDraft, studio: StudioDirectory, members: Sequence[Member], matches: _Matches, options: Options
) -> list[Change]:
    previous = studio.read_settings() or read_settings_outside_studio_yml(members)
    settings = list(list_setting_changes(draft.plan.settings, previous))
    if studio.is_edited(directory.STUDIO) or has_settings_elsewhere(studio, members):
        # The driver does not write them, so that only what was asked for is to be written by hand.
        sources = read_sources(options, studio)
        asked = {f"{PREFIX}{name}" for name in (*sources.file, *sources.flags)}
        settings = [change for change in settings if change.variable in asked]
    changes = [*list_host_changes(draft.plan, members, matches.moved), *settings]
    other = next((one for one in members if options.ssh_key and has_other_key(one, options.ssh_key)), None)
    if other and options.ssh_key:
        name = "ansible_ssh_private_key_file"
        key = str(options.ssh_key.expanduser().absolute())
        changes.append(Change(ChangeKind.VARIABLE, "", name, other.variables.get(name), key))
    return changes


def _look_at_hosts(
    studio: StudioDirectory, listing: Mapping[str, Any], members: Sequence[Member], login: Login, terminal: Terminal
) -> HostState:
    """Look at every host, and print what differs there and which hosts could not be looked at."""
    look = look_at_hosts(studio, listing, members, login, terminal)
    drift = list_drift(look.hosts.hosts)
    look = replace(look, decision=replace(look.decision, drift=drift))
    print_drift(drift, terminal)
    left_out = {
        member.name: _explain(look.hosts, host, member)
        for host, member in zip(look.hosts.hosts, members, strict=True)
        if host.error
    }
    for name, problem in left_out.items():
        terminal.warn(f"{name} is left out: {problem.what} {problem.todo}")
    answered = [host for host in look.hosts.hosts if not host.error]
    by_answers = Decision(Need.NOTHING, "")
    if answered:
        by_answers = decide(look.fingerprint, answered, fingerprint.list_computed(listing))
    return HostState(look, by_answers, left_out)


def _explain(looks: StudioLook, host: HostLook, member: Member) -> Problem:
    """Return why a host could not be looked at: it did not let the driver in, or the look failed there."""
    failures = [failure for failure in looks.outcome.failures if failure.host == member.name]
    problem = explain_failure(member, looks.outcome)
    if failures and (failures[-1].unreachable or problem.kind != ssh_errors.UNRECOGNISED):
        return problem
    what = f"{member.name} could not be compared: {shorten(host.error)}."
    return Problem(kind=NOT_COMPARED, host=member.name, what=what, todo="A deployment makes a new record there.")
