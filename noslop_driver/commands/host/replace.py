# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace the machine of a member by another one, which gets the member's name, roles and variables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from noslop_driver.commands.host.members import (
    confirm_dead,
    describe_member,
    find_member,
    get_pinned_keys,
    join_results,
    list_join_phases,
    require_removable,
    run_teardown,
)
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult, HostReplaceData
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import PreflightError, UnreachableError, UsageError
from noslop_driver.hosts import discovery, facts, facts_run, host_keys, presence, sudo
from noslop_driver.hosts.discovery import SearchTargets
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import host_edit, machines
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.render import list_ssh_variables, read_ssh_options
from noslop_driver.models import Candidate, Endpoint, Host, Problem
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import RunResult
from noslop_driver.planning import validation
from noslop_driver.planning.scoring import describe_hardware
from noslop_driver.records import Record

COMMAND = "host replace"


def replace_host(studio: StudioDirectory, login: Login, options: Options, terminal: Terminal) -> CommandResult:
    """Look at the new machine, have it confirmed, remove the old one, and deploy the new one in its place."""
    members = read_members(studio.path, login.user)
    old = find_member(members, str(options.member), studio)
    require_removable(old, members, studio)
    candidate = _find_candidate(studio, members, old, options, terminal)
    host = _look_at(studio, old, candidate, login, terminal)
    _require_another_machine(studio, members, old, host, again=options.again)
    values = _list_variables(old, host)
    host_edit.plan_variables(studio, old.name, values)  # raises an error before anything is changed
    here = presence.look(studio.path, members, login, terminal)
    login = replace(login, secrets=here.secrets)
    same_address = (host.address, host.port) == (old.address, old.port)
    if old.name in here.away:
        confirm_dead(old, here.away[old.name], options, terminal)
    dead = options.dead or same_address or old.name in here.away
    _print_replacement(old, host, terminal, dead=dead)
    terminal.require_consent(f"Replace {old.name}?")

    torn_down: RunResult | None = None
    if not dead:
        torn_down, record = run_teardown((COMMAND, str(options.replacement)), old, studio, login, terminal)
        if not torn_down.complete:
            data = _make_data(torn_down, studio, record, old, host)
            return CommandResult(torn_down.code, data, torn_down.message)
    _exchange(studio, old, host, candidate)
    studio.change_files(host_edit.plan_variables(studio, old.name, values))
    login = replace(login, secrets=sudo.ask_where_needed(studio.path, login.secrets, terminal, old.name))
    record = Record(studio.records, COMMAND, login.secrets)
    others = [member.name for member in members if member is not old]
    result, _members = run_phases(
        "deploy",  # the inventory has the new machine now
        list_join_phases([old.name], others),
        studio,
        login=login,
        terminal=terminal,
        record=record,
        away={name: reason for name, reason in here.away.items() if name != old.name},
    )
    result = join_results(torn_down, result)
    if result.complete:
        terminal.print(f"{old.name} is the machine at {host.address} now.")
    return CommandResult(result.code, _make_data(result, studio, record, old, host), result.message)


def _find_candidate(
    studio: StudioDirectory, members: Sequence[Member], old: Member, options: Options, terminal: Terminal
) -> Candidate:
    """Return the new machine with those of its keys that are accepted.

    Raises:
        DriverError: it does not answer, is a member or was removed, or its key is not accepted.
    """
    target = str(options.replacement)
    rule = host_keys.read_rule(accept_new_keys=options.accept_new_keys, file=options.host_keys)
    search = SearchTargets(hosts=[target], port=options.port, user=options.user or "", own_keys=options.ssh_key is None)
    discovered = discovery.search(search, terminal)
    if not discovered.candidates:
        raise UnreachableError(_join_problems(discovered.problems) or f"{target} does not answer.")
    candidate = discovered.candidates[0]
    if set(get_pinned_keys(studio, old)) & set(candidate.host_keys):
        raise UsageError(
            f"{candidate.address} shows the key of {old.name}: it is the same machine. To change its address: "
            f"noslop-driver deploy --host {target}."
        )
    for member in members:
        if member is not old and (
            (member.address, member.port) == (candidate.address, candidate.port)
            or set(get_pinned_keys(studio, member)) & set(candidate.host_keys)
        ):
            raise UsageError(f"{candidate.address} is {member.name}, a host of {studio.path} already.")
    _reject_removed(studio, candidate.address, candidate.host_keys, again=options.again)
    decision = host_keys.decide([candidate], rule, terminal)
    if not decision.accepted:
        raise PreflightError(_join_problems(decision.problems) or "Its key was not accepted. Nothing was changed.")
    return decision.accepted[0]


def _look_at(studio: StudioDirectory, old: Member, candidate: Candidate, login: Login, terminal: Terminal) -> Host:
    """Return the new machine with its facts, under the name of the old one.

    Raises:
        DriverError: the login failed, or the machine cannot be a member.
    """
    studio.make_state_dir()
    keys = KnownHosts(studio.known_hosts.with_name("known_hosts.new"))
    try:
        keys.accept([candidate])
        target = facts.Target(
            Endpoint(
                name=old.name,
                address=candidate.address,
                port=candidate.port,
                user=candidate.user,
                ssh=candidate.ssh,
            ),
            addresses=candidate.addresses,
        )
        events = facts_run.run_on_new_hosts([target], login, keys.path, terminal)
    finally:
        keys.path.unlink(missing_ok=True)
    gathered = facts.parse_events([target], login.user, events)
    if not gathered.hosts:
        raise UnreachableError(_join_problems(gathered.problems))
    fit, problems = validation.split_unfit_hosts(gathered.hosts)
    problems += [problem for problem in gathered.problems if problem.fatal]
    if not fit or problems:
        raise PreflightError(_join_problems(problems))
    return fit[0]


def _require_another_machine(
    studio: StudioDirectory, members: Sequence[Member], old: Member, host: Host, *, again: bool
) -> None:
    """Raise an error where the new machine is a clone of another member, or was removed before."""
    identities = machines.read(studio)
    for member in members:
        if member is not old and host.machine_id and identities.machine_ids.get(member.name) == host.machine_id:
            raise PreflightError(
                f"{host.address} has the machine-id of {member.name}: one of them is a clone. Give it a machine-id of "
                "its own, as root there: `rm /etc/machine-id; systemd-machine-id-setup`, and restart it."
            )
    _reject_removed(studio, host.address, (), host.machine_id, again=again)


def _reject_removed(
    studio: StudioDirectory, address: str, keys: Iterable[str], machine_id: str = "", *, again: bool
) -> None:
    removed = machines.read(studio).find_removed(keys, machine_id)
    if removed and not again:
        raise PreflightError(
            f"{address} is the machine that was removed from the studio as {removed.name} on {removed.removed[:10]}. "
            "Pass --again if it is to come back. Nothing was changed."
        )


def _list_variables(old: Member, host: Host) -> dict[str, object]:
    """Return the variables of the connection that the new machine needs, where they differ from the old one's."""
    values: dict[str, object] = {"ansible_host": host.address, "ansible_port": host.port, "ansible_user": host.user}
    if "noslop_address" in old.variables:
        values["noslop_address"] = host.address
    ssh = list_ssh_variables(host.ssh)
    # The jump host and the keys of the old machine are not the new one's.
    values.update({**dict.fromkeys(list_ssh_variables(read_ssh_options(old.variables)), ""), **ssh})
    present = {**old.variables, "ansible_port": old.port, "ansible_user": old.user}
    return {name: value for name, value in values.items() if present.get(name) != value}


def _exchange(studio: StudioDirectory, old: Member, host: Host, candidate: Candidate) -> None:
    """Refuse the old machine from now on, and pin the keys of the new one."""
    identities = machines.read(studio)
    own_key_only = bool(host.machine_id) and identities.machine_ids.get(old.name) == host.machine_id
    if not own_key_only:  # otherwise it is the same machine, installed anew
        identities = identities.remove_member(old, get_pinned_keys(studio, old))
    identities = identities.allow_again([one for one in identities.removed if one.matches(candidate.host_keys)])
    machine_ids = {**identities.machine_ids, **({old.name: host.machine_id} if host.machine_id else {})}
    machines.write(studio, identities.model_copy(update={"machine_ids": machine_ids}))
    machines.forget_facts(studio, old.name)
    known_hosts = KnownHosts(studio.known_hosts)
    for address, port in ((old.address, old.port), (candidate.address, candidate.port)):
        known_hosts.forget(Endpoint(name=old.name, address=address, port=port))
    known_hosts.accept([candidate])


def _print_replacement(old: Member, host: Host, terminal: Terminal, *, dead: bool) -> None:
    system = f"{host.os} {host.os_version}".strip()
    lines = [
        "the old machine is not contacted: what was installed there stays, and no longer reaches the studio."
        if dead
        else "the old machine loses Ollama, ComfyUI, mounts, units and rules. Data, packages and accounts stay.",
        f"the new one gets the name, the roles and the variables: {system}, {describe_hardware(host)}.",
        "the others get the new address. The old machine is refused from now on.",
    ]
    terminal.print(f"This replaces {describe_member(old)} by the machine at {host.address}:")
    for line in lines:
        terminal.print(f"  {line}")


def _join_problems(problems: Sequence[Problem]) -> str:
    return "\n".join(f"{problem.what} {problem.todo}" for problem in problems)


def _make_data(result: RunResult, studio: StudioDirectory, record: Record, old: Member, host: Host) -> HostReplaceData:
    return {
        **make_run_data(result, studio, record),
        "host": old.name,
        "old_address": old.address,
        "address": host.address,
    }
