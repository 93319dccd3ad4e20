# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draft a plan from the gathered hosts and the settings, have it confirmed, and write it as an inventory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio as collection

from noslop_driver.cli.session import Session
from noslop_driver.errors import DriverError, PreflightError, UnreachableError, UsageError
from noslop_driver.hosts.gather import GatheredHosts, Gatherer
from noslop_driver.inventory import directory, studio_yml
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.render import Connection
from noslop_driver.models import Plan, StudioSettings
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning import view
from noslop_driver.planning.planner import make_plan
from noslop_driver.settings import merge

_UNREACHABLE_KINDS = frozenset(
    {"auth_refused", "closed", "error", "host_key_changed", "host_key_unknown", "name", "no_route", "nothing_found"}
    | {"refused", "silent", "timeout"}
)
"""Kinds of problems of hosts that did not answer, or refused the login."""


@dataclass
class PlanDraft:
    """A plan that is not confirmed yet, and the hosts it was made from."""

    plan: Plan
    gathered: GatheredHosts

    def replan(self, settings: StudioSettings) -> Plan:
        """Return a plan of the same hosts with other settings."""
        return make_plan(self.gathered.hosts, settings, self.gathered.problems)


def draft_plan(session: Session) -> PlanDraft:
    """Gather the hosts and make a plan.

    Raises:
        DriverError: a setting is invalid, or gathering the hosts failed.
    """
    studio, options = session.studio, session.options
    file = merge.read_file(options.config_file) if options.config_file else {}
    edited = studio.path / directory.STUDIO if studio.is_edited(directory.STUDIO) else None
    written = studio.read_settings()
    # Invalid settings are reported before the search, which takes time.
    merge.merge_sources(merge.Sources(options.settings, file, written, edited=edited), Terminal(no_input=True))
    gatherer = Gatherer(session)
    gathered = gatherer.gather()
    present_roles = directory.read_roles(gathered.members)
    roles = {**present_roles["roles"], **(file.get("roles") or {}), **(options.settings.get("roles") or {})}
    sources = merge.Sources(
        flags={**options.settings, "roles": roles},
        file=file,
        previous={**(written or _settings_outside_studio_yml(gathered.members)), **present_roles}
        if gathered.members
        else written,
        defaults=_make_defaults(gathered, gatherer.user),
        edited=edited,
    )
    return PlanDraft(
        make_plan(gathered.hosts, merge.merge_sources(sources, session.terminal), gathered.problems), gathered
    )


def confirm_plan(draft: PlanDraft, session: Session, question: str) -> Plan:
    """Have the plan confirmed, or edited and confirmed.

    Raises:
        DriverError: the answer was no.
    """
    plan = view.confirm_or_edit(draft.plan, draft.replan, session.terminal, question)
    if plan is None:
        raise DriverError("You answered no: nothing was changed.")
    return plan


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


def write_inventory(target: StudioDirectory, plan: Plan, gathered: GatheredHosts, session: Session) -> None:
    """Write the inventory, and print what the user has to edit by hand.

    Raises:
        UsageError: the plan changes a file that was edited by hand.
    """
    key = session.options.ssh_key
    if gathered.members:
        if target.is_edited(directory.HOSTS):
            _reject_group_changes(target, plan, gathered.members)
        present_key = gathered.members[0].variables.get("ansible_ssh_private_key_file")
        key = key or (Path(str(present_key)) if present_key else None)
    settings_elsewhere = bool(_settings_outside_studio_yml(gathered.members)) and not target.read_settings()
    written = target.write(
        plan,
        Connection(key),
        existing_hosts=[member.name for member in gathered.members],
        local=gathered.local,
        write_settings=not settings_elsewhere,
    )
    if written.files and not session.options.check:
        session.terminal.print(f"Written to {target.path}: {', '.join(written.files)}")
    for note in written.notes:
        session.terminal.warn(note)


def _settings_outside_studio_yml(members: Sequence[Member]) -> dict[str, Any]:
    """Return the studio's variables of an inventory that has them in other files than studio.yml."""
    if not members:
        return {}
    return {
        name.removeprefix(studio_yml.PREFIX): value
        for name, value in members[0].variables.items()
        if name in collection.DEFAULTS
    }


def _make_defaults(gathered: GatheredHosts, user: str) -> dict[str, Any]:
    """Return the defaults of a new studio that depend on its hosts."""
    users = {host.user for host in gathered.hosts} or {user}
    defaults: dict[str, Any] = {"users": sorted(users - {"root"})}
    if gathered.local:
        return {**defaults, "storage_provider": "local"}
    if gathered.hosts:
        # The user at this computer needs access to the services.
        own_address = merge.find_own_address(gathered.hosts[0].address)
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
