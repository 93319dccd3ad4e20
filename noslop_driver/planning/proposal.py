# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a search to an inventory: what was found and what is wished become a plan, and an agreed plan is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio as collection

from noslop_driver.cli.session import Session
from noslop_driver.errors import DriverError, PreflightError, UnreachableError, UsageError
from noslop_driver.hosts.gather import Survey, Surveyor
from noslop_driver.inventory import directory
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.render import Connection
from noslop_driver.models import Plan, Wishes
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning import view
from noslop_driver.planning.planner import make_plan
from noslop_driver.settings import merge, studio_yml

_NOT_REACHED = frozenset(
    {"auth_refused", "closed", "error", "host_key_changed", "host_key_unknown", "name", "no_route", "nothing_found"}
    | {"refused", "silent", "timeout"}
)
"""Kinds of problems that say that a host did not answer, or did not let us in."""


@dataclass
class Proposed:
    """A plan that may be carried out, and what it was made from."""

    plan: Plan
    survey: Survey

    def again(self, wished: Wishes) -> Plan:
        """The plan of the same hosts and other wishes."""
        return make_plan(self.survey.hosts, wished, self.survey.problems)


def propose(session: Session) -> Proposed:
    """Find the hosts, look at them and make a plan.

    Raises:
        DriverError: a wish makes no sense, or nothing could be found out.
    """
    studio, options = session.studio, session.options
    file = merge.read_file(options.wishes_file) if options.wishes_file else {}
    edited = studio.path / directory.STUDIO if studio.is_edited(directory.STUDIO) else None
    written = studio.wishes()
    # What makes no sense is told before anybody waits for a search.
    merge.collect(merge.Sources(options.wishes, file, written, edited=edited), Terminal(no_input=True))
    surveyor = Surveyor(session)
    survey = surveyor.survey()
    chosen = directory.choices(survey.members)
    roles = {**chosen["roles"], **(file.get("roles") or {}), **(options.wishes.get("roles") or {})}
    sources = merge.Sources(
        flags={**options.wishes, "roles": roles},
        file=file,
        previous={**(written or _written_elsewhere(survey.members)), **chosen} if survey.members else written,
        defaults=_defaults(survey, surveyor.user),
        edited=edited,
    )
    return Proposed(make_plan(survey.hosts, merge.collect(sources, session.terminal), survey.problems), survey)


def agree(proposed: Proposed, session: Session, question: str) -> Plan:
    """Have the plan confirmed, or changed and confirmed.

    Raises:
        DriverError: the answer was no.
    """
    agreed = view.agree(proposed.plan, proposed.again, session.terminal, question)
    if agreed is None:
        raise DriverError("Nothing was changed, as you wished.")
    return agreed


def obstacle(plan: Plan) -> DriverError | None:
    """What stands in the way of carrying a plan out, as the error that ends the command; None when nothing does."""
    if not plan.blocked:
        return None
    fatal = [problem for problem in plan.problems if problem.fatal]
    # That nobody is left follows from why each of them is not there.
    causes = [problem for problem in fatal if problem.kind != "no_hosts"] or [
        problem for problem in plan.problems if problem.kind != "no_hosts"
    ]
    told = f"Nothing was changed: see the {len(fatal)} problems above." if len(fatal) > 1 else ""
    told = told or f"Nothing was changed. {fatal[0].what} {fatal[0].todo}"
    if causes and all(problem.kind in _NOT_REACHED for problem in causes):
        return UnreachableError(told)
    return PreflightError(told)


def write(target: StudioDirectory, agreed: Plan, survey: Survey, session: Session) -> None:
    """Write the inventory, and say what a person has to write himself.

    Raises:
        UsageError: the plan wants something of a file that was edited by hand.
    """
    key = session.options.ssh_key
    if survey.members:
        if target.is_edited(directory.HOSTS):
            _must_not_move(target, agreed, survey.members)
        before = survey.members[0].variables.get("ansible_ssh_private_key_file")
        key = key or (Path(str(before)) if before else None)
    elsewhere = bool(_written_elsewhere(survey.members)) and not target.wishes()
    written = target.write(
        agreed,
        Connection(key),
        known=[member.name for member in survey.members],
        local=survey.local,
        with_wishes=not elsewhere,
    )
    if written.files and not session.options.check:
        session.terminal.say(f"Written to {target.path}: {', '.join(written.files)}")
    for note in written.notes:
        session.terminal.warn(note)


def _written_elsewhere(members: Sequence[Member]) -> dict[str, Any]:
    """The studio's variables where somebody keeps them in other files than studio.yml."""
    if not members:
        return {}
    return {
        name.removeprefix(studio_yml.PREFIX): value
        for name, value in members[0].variables.items()
        if name in collection.DEFAULTS
    }


def _defaults(survey: Survey, user: str) -> dict[str, Any]:
    """What a new studio gets unless something else is said."""
    people = {host.user for host in survey.hosts} or {user}
    defaults: dict[str, Any] = {"users": sorted(people - {"root"})}
    if survey.local:
        return {**defaults, "storage_provider": "local"}
    if survey.hosts:
        # The person at this computer will want to open what was deployed.
        own = merge.own_address(survey.hosts[0].address)
        taken = {address for host in survey.hosts for address in (host.address, *host.addresses)}
        if own and own not in taken:
            defaults["allowed_networks"] = [own]
    return defaults


def _must_not_move(studio: StudioDirectory, agreed: Plan, members: Sequence[Member]) -> None:
    """A hosts.yml that a person has edited is not written: what the plan says differently, he has to say there."""
    planned = {made.host: set(made.roles) for made in agreed.proposals}
    moves = []
    for member in members:
        has, wanted = set(member.groups), set(planned.get(member.name, member.groups))
        moves += [f"add {member.name} to {group}" for group in sorted(wanted - has)]
        moves += [f"take {member.name} out of {group}" for group in sorted(has - wanted)]
    if moves:
        path = studio.path / directory.HOSTS
        raise UsageError(f"{path} was edited by hand and is not written again. Do it there: {'; '.join(moves)}.")
