# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise a member that has another address now, and change its address in the inventory after the user agreed.

A candidate is the member if it shows a key that is pinned for it, and, after a login that this key protects, the
machine-id that was recorded for it. A name proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import ssh_scan
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import Limits

from noslop_driver.hosts import discovery, facts, facts_run
from noslop_driver.hosts.known_hosts import KnownHosts, format_host
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import host_edit
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.machines import Machines
from noslop_driver.models import Candidate, Endpoint, Problem
from noslop_driver.output.terminal import Terminal

_PATIENT = Limits(connect_s=5.0, greeting_s=15.0)
"""A member that answers slowly has not moved."""


@dataclass(frozen=True)
class Moves:
    """The result of a search for moved members."""

    changed: list[str]
    """Names of members whose addresses were changed."""
    candidates: list[Candidate]
    """The candidates that are no members."""
    problems: list[Problem]


def follow_moves(
    studio: StudioDirectory,
    members: Sequence[Member],
    candidates: Sequence[Candidate],
    machines: Machines,
    *,
    login: Login,
    terminal: Terminal,
    check: bool = False,
) -> Moves:
    """Find members among candidates at other addresses, and change their addresses after the user agreed.

    Args:
        studio: the directory with the accepted keys and the inventory.
        members: the hosts in the inventory.
        candidates: machines at addresses that no member has.
        machines: the recorded machine-ids.
        login: the passwords.
        terminal: the terminal for progress and questions.
        check: change nothing, and report what a run without `--check` would ask.

    Raises:
        UsageError: there is no terminal to ask on, or the inventory has a form that is not changed.
        DriverError: the search or Ansible failed.
    """
    result = Moves([], [], [])
    for candidate, member in match_members(studio, members, candidates):
        if member is None or member.name in result.changed:
            result.candidates.append(candidate)
            continue
        recorded = machines.machine_ids.get(member.name, "")
        problems = _compare_machine(studio, member, candidate, recorded, look=(login, terminal))
        if problems:
            result.problems.extend(problems)
        elif check:
            result.problems.append(_report_move(member, candidate, "Run this without --check to change its address."))
        elif terminal.confirm(_compose_question(member, candidate)):
            change_address(studio, member, candidate)
            terminal.print(f"{member.name} has the address {candidate.address} in {studio.path} now.")
            result.changed.append(member.name)
        else:
            result.problems.append(_report_move(member, candidate, "Run this again to change its address."))
    return result


def match_members(
    studio: StudioDirectory, members: Sequence[Member], candidates: Sequence[Candidate]
) -> Iterator[tuple[Candidate, Member | None]]:
    """Yield each candidate with the member whose key it shows and that does not answer at its own address, or None.

    Logs in to none: whether it is that machine, and no copy of it, is not known yet.

    Raises:
        DriverError: a search at the address of a member failed.
    """
    known_hosts = KnownHosts(studio.known_hosts)
    pinned = {
        member.name: set(known_hosts.find_keys(member.address, member.port))
        for member in members
        if not member.local and uses_studio_known_hosts(member)
    }
    for candidate in candidates:
        keys = set(candidate.host_keys)
        member = next((member for member in members if pinned.get(member.name, set()) & keys), None)
        yield candidate, None if member is None or _answers(member, pinned[member.name]) else member


def change_address(studio: StudioDirectory, member: Member, candidate: Candidate) -> None:
    """Write the address of a candidate into the inventory for a member, and pin the member's keys for it.

    An address for the other hosts (`noslop_address`) that differs from the one of the login stays.

    Raises:
        UsageError: the inventory has a form that is not changed.
    """
    values: dict[str, object] = {"ansible_host": candidate.address}
    if candidate.port != member.port:
        values["ansible_port"] = candidate.port
    if str(member.variables.get("noslop_address", "")) == member.address:
        values["noslop_address"] = candidate.address
    texts = host_edit.plan_variables(studio, member.name, values)
    KnownHosts(studio.known_hosts).move(
        _get_endpoint(member), Endpoint(name=member.name, address=candidate.address, port=candidate.port)
    )
    studio.change_files(texts)


def uses_studio_known_hosts(member: Member) -> bool:
    """Return whether SSH uses the studio's known_hosts for the member; a user may have configured another file."""
    return ".noslop/known_hosts" in str(member.variables.get("ansible_ssh_common_args", ""))


def _answers(member: Member, pinned: Set[str]) -> bool:
    """Return whether a machine with a key of the member answers at its address."""
    target = discovery.format_target(member.address, member.port)
    answers = discovery.discover(discovery.plan_discovery((), [target], limits=_PATIENT)).candidates
    return any(pinned & set(answer.host_keys) for answer in answers)


def _compare_machine(
    studio: StudioDirectory, member: Member, candidate: Candidate, recorded: str, *, look: tuple[Login, Terminal]
) -> list[Problem]:
    """Log in to a candidate with the member's account, and return why it is not the machine with that machine-id."""
    endpoint = Endpoint(name=member.name, address=candidate.address, port=candidate.port)
    target = facts.Target(endpoint, named=candidate.named, addresses=candidate.addresses)
    alias = format_host(member.address, member.port)
    own = str(member.variables.get("ansible_ssh_extra_args") or "")
    arguments = f"{own} -o 'HostKeyAlias={alias}'".strip()
    events = facts_run.run_at_other_address(studio.path, endpoint, arguments, *look)
    gathered = facts.parse_events([target], member.user, events)
    cloned = [problem for problem in gathered.problems if problem.kind == "cloned_host_key"]
    if not gathered.hosts or cloned:
        return cloned or gathered.problems
    actual = gathered.hosts[0].machine_id
    if recorded and actual and recorded != actual:
        return [
            Problem(
                kind="cloned_host_key",
                host=member.name,
                what=f"{candidate.address} shows the SSH host key of {member.name} ({member.address}), but has another "
                f"machine-id ({actual}, recorded: {recorded}): another machine, made from the same image.",
                todo="Give it keys of its own, as root there: `rm /etc/ssh/ssh_host_*_key*; ssh-keygen -A; systemctl "
                f"restart ssh`. If it is {member.name} and its machine-id was made anew, write ansible_host: "
                f"{candidate.address} for it into the inventory.",
                fatal=candidate.named,
            )
        ]
    return []


def _compose_question(member: Member, candidate: Candidate) -> str:
    return (
        f"{member.name} answers at {candidate.address} now, with the key that was accepted for {member.address} "
        f"({ssh_scan.fingerprint(candidate.host_keys[0])}). Change its address in the inventory?"
    )


def _report_move(member: Member, candidate: Candidate, todo: str) -> Problem:
    return Problem(
        kind="moved",
        host=member.name,
        what=f"{member.name} answers at {candidate.address} now, with the key that was accepted for {member.address}.",
        todo=todo,
        fatal=False,
    )


def _get_endpoint(member: Member) -> Endpoint:
    return Endpoint(name=member.name, address=member.address, port=member.port)
