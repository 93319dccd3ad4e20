# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather the hosts of a studio: discover them, have their keys accepted, and gather the facts of each.

The hosts of an existing studio come from its inventory; `--network` and `--host` add others.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.errors import DriverError
from noslop_driver.hosts import discovery, facts, facts_run, host_keys, moved, presence, proxied_host, ssh_config
from noslop_driver.hosts.discovery import SearchTargets
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import directory, machines
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.machines import Machines, RemovedMachine
from noslop_driver.inventory.render import read_ssh_options
from noslop_driver.models import Candidate, Endpoint, Host, Problem
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets

_OUTSIDE_ADDRESS = "192.0.2.1"
"""An address that no host has (TEST-NET-1, RFC 5737): packets to it take the default route."""


@dataclass(frozen=True)
class GatheredHosts:
    """The hosts and their problems, before a plan is made."""

    hosts: list[Host]
    problems: list[Problem]
    members: list[Member] = field(default_factory=list)
    """Hosts that are in the studio's inventory already."""
    secrets: Secrets = field(default_factory=Secrets)
    """The passwords of the login, with the sudo password if it was asked for."""
    local: bool = False
    """True when the only host is this computer."""
    away: Mapping[str, str] = field(default_factory=dict)
    """Members that do not answer and are left out, each with the reason."""


def make_host_without_facts(member: Member) -> Host:
    """Return a member as the inventory has it, of which no fact was gathered."""
    return Host(
        name=member.name,
        address=member.studio_address,
        port=member.port,
        user=member.user,
        ssh=read_ssh_options(member.variables),
        named=True,
    )


def gather_this_computer(members: Sequence[Member], login: Login, terminal: Terminal) -> GatheredHosts:
    """Gather the facts of the computer that the driver runs on, which is the only host of its studio.

    Args:
        members: the hosts in the studio's inventory: this computer, or none.
        login: the passwords.
        terminal: the terminal for progress.

    Raises:
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    if members:
        endpoint = Endpoint(name=members[0].name, address=members[0].studio_address)
    else:
        address = discovery.find_own_address(_OUTSIDE_ADDRESS) or "127.0.0.1"
        endpoint = Endpoint(name=address, address=address)
    target = facts.Target(endpoint, keep_name=bool(members))
    events, login = facts_run.run_on_this_computer(target, login, terminal, member=bool(members))
    gathered = facts.parse_events([target], login.user, events)
    hosts = [host.model_copy(update={"user": getpass.getuser()}) for host in gathered.hosts]
    return GatheredHosts(hosts, gathered.problems, list(members), login.secrets, local=True)


def gather_hosts(
    studio: StudioDirectory,
    members: Sequence[Member],
    search: SearchTargets,
    rule: host_keys.AcceptanceRule,
    *,
    login: Login,
    terminal: Terminal,
    limit: str | None = None,
    check: bool = False,
    again: bool = False,
) -> GatheredHosts:
    """Gather the facts of a studio's members, and of new hosts.

    A member that shows its key at another address keeps its place, after the user agreed to change its address.

    Args:
        studio: the directory with the accepted host keys and, if there are members, the inventory.
        members: the hosts in the inventory.
        search: the networks and hosts to search; without members also if none is named.
        rule: the new host keys that are accepted.
        login: how to log in to new hosts, and the passwords.
        terminal: the terminal for progress and questions.
        limit: a host pattern, for members.
        check: do not change the address of a member.
        again: do not refuse machines that were removed from the studio.

    Raises:
        DriverError: the search or Ansible failed, or a host key is not the accepted one.
        KeyboardInterrupt: the run was interrupted.
    """
    identities = machines.read(studio)
    if again:
        identities = identities.model_copy(update={"removed": []})
    problems: list[Problem] = []
    new: list[Candidate] = []
    if search.named or not members:
        new, problems = search_new_hosts(search, members, identities, terminal)
    if new and members:
        moves = moved.follow_moves(studio, members, new, identities, login=login, terminal=terminal, check=check)
        new = moves.candidates
        problems += moves.problems
        if moves.changed:
            members = ssh_config.resolve_members(directory.read_members(list_inventory(studio.path), login.user))
    known_hosts = KnownHosts(studio.known_hosts)
    scanned = [*new, *_scan_members_without_keys(members, known_hosts)]
    new, key_problems = _accept_keys(scanned, members, rule, studio, terminal)
    hosts, member_problems, login = _gather_members(studio, members, login, terminal, limit)
    new_hosts, new_problems = _gather_new_hosts(new, members, login, studio, terminal)
    new_hosts, machine_problems = _reject_other_machines(new_hosts, hosts, members, identities)
    machine_problems += _list_changed_machine_ids(hosts, identities)
    if members:
        machines.write(studio, machines.read(studio).record_members(hosts, [member.name for member in members]))
    return GatheredHosts(
        [*hosts, *new_hosts],
        [*problems, *key_problems, *_excuse_away(member_problems, members, hosts), *new_problems, *machine_problems],
        list(members),
        login.secrets,
        away=presence.select_away(member_problems),
    )


def _excuse_away(problems: Sequence[Problem], members: Sequence[Member], hosts: Sequence[Host]) -> list[Problem]:
    """Return the problems of members, of which those of one that is away do not end the command.

    Without the storage server, or without any host that answers, they do.
    """
    away = presence.select_away(problems)
    server = presence.find_server(members)
    if server and server.name in away:
        what = presence.explain_missing_server(server.name, away[server.name])
        return [
            problem.model_copy(update={"what": what}) if problem.host == server.name else problem
            for problem in problems
        ]
    if not any(host.arch for host in hosts):
        return list(problems)
    todo = (
        "It is left out, and keeps its part. If it has another address now, name its network (--network) or the "
        "address (--host). If it is gone: noslop-driver host remove {}. "
    )
    return [
        problem.model_copy(update={"fatal": False, "todo": f"{todo.format(problem.host)}{problem.todo}"})
        if problem.host in away and problem.kind in presence.AWAY_KINDS
        else problem
        for problem in problems
    ]


def search_new_hosts(
    search: SearchTargets, members: Sequence[Member], identities: Machines, terminal: Terminal
) -> tuple[list[Candidate], list[Problem]]:
    """Search for machines at addresses that no member has, without logging in.

    Args:
        search: the networks and hosts to search.
        members: the hosts in the inventory.
        identities: the machines that were removed from the studio.
        terminal: the terminal for progress.

    Returns:
        The machines, without removed ones, and the problems.

    Raises:
        DriverError: the search failed.
    """
    addresses = {member.address for member in members}
    discovered = discovery.search(search, terminal)
    new, problems = [], list(discovered.problems)
    for candidate in discovered.candidates:
        removed = identities.find_removed(candidate.host_keys)
        if removed:
            problems.append(_report_removed(removed, candidate.address, fatal=candidate.named))
        elif not addresses & {candidate.address, *candidate.addresses}:
            new.append(candidate)
    return new, problems


def _reject_other_machines(
    new: Sequence[Host], hosts: Sequence[Host], members: Sequence[Member], identities: Machines
) -> tuple[list[Host], list[Problem]]:
    """Return the new hosts without those whose machine-id is that of a removed machine, or of a member that is away."""
    away = {host.name for host in hosts if not host.machine_id}
    by_machine_id = {identities.machine_ids.get(member.name): member for member in members if member.name in away}
    accepted, problems = [], []
    for host in new:
        removed = identities.find_removed((), host.machine_id)
        member = by_machine_id.get(host.machine_id) if host.machine_id else None
        if removed:
            problems.append(_report_removed(removed, host.address, fatal=host.named))
        elif member:
            problems.append(_report_other_key(host, member))
        else:
            accepted.append(host)
    return accepted, problems


def _list_changed_machine_ids(hosts: Sequence[Host], identities: Machines) -> list[Problem]:
    """Return a note for each member that has its own key and another machine-id than before."""
    return [
        Problem(
            kind="machine_id_changed",
            host=host.name,
            what=f"{host.name} has another machine-id than before ({host.machine_id}, recorded: {recorded}), and the "
            "key that was accepted for it: its machine-id was made anew, or it is a copy of that machine.",
            todo="Nothing, if you know why. The new one is recorded now.",
            fatal=False,
        )
        for host in hosts
        if (recorded := identities.machine_ids.get(host.name)) and host.machine_id and host.machine_id != recorded
    ]


def _report_removed(removed: RemovedMachine, address: str, *, fatal: bool) -> Problem:
    return Problem(
        kind="removed_machine",
        host=removed.name,
        what=f"{address} is the machine that was removed from the studio as {removed.name} on {removed.removed[:10]}.",
        todo=f"Leave it out, or bring it back: noslop-driver host add --again {address}.",
        fatal=fatal,
    )


def _report_other_key(host: Host, member: Member) -> Problem:
    return Problem(
        kind="cloned_machine_id",
        host=host.name,
        what=f"{host.name} ({host.address}) has the machine-id of {member.name} ({member.address}), which does not "
        "answer, and another SSH host key: a clone of its disk, or the same machine with new keys.",
        todo=f"If it is to replace {member.name}: noslop-driver host replace {member.name} {host.address}. If it is a "
        "clone, give it a machine-id of its own, as root there: `rm /etc/machine-id; systemd-machine-id-setup`, and "
        "restart it.",
        fatal=host.named,
    )


def _scan_members_without_keys(members: Sequence[Member], known_hosts: KnownHosts) -> list[Candidate]:
    """Scan the members without a pinned key: the inventory was made on another computer."""
    without_key = [
        member
        for member in members
        if not member.local
        and not known_hosts.find_keys(member.address, member.port)
        and moved.uses_studio_known_hosts(member)
    ]
    options = {member.name: ssh_config.get_options(member) for member in without_key}
    behind = [
        ssh_config.ResolvedHost(member.name, member.address, member.port, member.user, options[member.name])
        for member in without_key
        if options[member.name].proxy
    ]
    candidates = [candidate for candidate in proxied_host.probe_all(behind) if candidate.status == "open"]
    targets = [
        discovery.format_target(member.address, member.port) for member in without_key if not options[member.name].proxy
    ]
    if targets:
        candidates += discovery.discover(discovery.plan_discovery((), targets)).candidates
    return candidates


def _accept_keys(
    candidates: Sequence[Candidate],
    members: Sequence[Member],
    rule: host_keys.AcceptanceRule,
    studio: StudioDirectory,
    terminal: Terminal,
) -> tuple[list[Candidate], list[Problem]]:
    """Pin the new keys that are accepted. Return the new hosts with a pinned key, and problems of others."""
    known_hosts = KnownHosts(studio.known_hosts)
    classified = known_hosts.classify(candidates)
    problems = [
        Problem(
            kind="no_host_key",
            host=candidate.hostname or candidate.address,
            what=f"{candidate.address} did not show its SSH host key.",
            todo="Run again; look at the log of its SSH server if it stays so.",
            fatal=candidate.named,
        )
        for candidate in classified.without_key
    ]
    decision = host_keys.decide(classified.new, rule, terminal)
    if decision.left_out and not decision.problems:
        terminal.print(f"Left out: {', '.join(host_keys.format_label(candidate) for candidate in decision.left_out)}")
        if not members and not decision.accepted and not classified.pinned:
            raise DriverError("No host key was accepted: no host was looked at and nothing was changed.")
    if decision.accepted:
        studio.make_state_dir()
        known_hosts.accept(decision.accepted)
    addresses = {member.address for member in members}
    accepted = [*classified.pinned, *decision.accepted]
    # Members that were left out stay in the studio: gathering their facts reports why they cannot be reached.
    problems += [problem for problem in decision.problems if problem.host not in addresses]
    return [candidate for candidate in accepted if candidate.address not in addresses], problems


def _gather_members(
    studio: StudioDirectory, members: Sequence[Member], login: Login, terminal: Terminal, limit: str | None
) -> tuple[list[Host], list[Problem], Login]:
    """Gather the facts of members as root, because other accounts may not see all file systems."""
    if not members:
        return [], [], login
    targets = [facts.Target(Endpoint(name=member.name, address=member.address, port=member.port)) for member in members]
    events, login = facts_run.run_as_root(studio.path, targets, login, terminal, limit=limit)
    if limit:
        selected = {event.host for event in events}
        targets = [target for target in targets if target.endpoint.name in selected]
    gathered = facts.parse_events(targets, login.user, events)
    by_name = {member.name: member for member in members}
    hosts = [
        host.model_copy(
            update={
                "user": by_name[host.name].user,
                "address": by_name[host.name].studio_address,
                "ssh": read_ssh_options(by_name[host.name].variables),
            }
        )
        for host in gathered.hosts
        if host.name in by_name
    ]
    # Members that were left out or did not answer stay in the studio, without facts.
    names = {host.name for host in hosts}
    hosts += [make_host_without_facts(member) for member in members if member.name not in names]
    return hosts, gathered.problems, login


def _gather_new_hosts(
    accepted: Sequence[Candidate],
    members: Sequence[Member],
    login: Login,
    studio: StudioDirectory,
    terminal: Terminal,
) -> tuple[list[Host], list[Problem]]:
    """Gather the facts of new hosts whose keys were accepted."""
    if not accepted:
        return [], []
    targets = facts.make_targets(accepted)
    events = facts_run.run_on_new_hosts(targets, login, studio.known_hosts, terminal)
    gathered = facts.parse_events(targets, login.user, events)
    # Members keep their names.
    used_names = {member.name for member in members}
    hosts = [
        host
        if host.name not in used_names
        else host.model_copy(update={"name": f"{host.name}-{host.address.replace('.', '-').replace(':', '-')}"})
        for host in gathered.hosts
    ]
    return hosts, gathered.problems
