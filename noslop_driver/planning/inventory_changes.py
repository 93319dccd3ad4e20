# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a plan with the inventory that it would be written over. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from noslop_driver.choices import PREFIX
from noslop_driver.inventory import studio_yml
from noslop_driver.inventory.directory import Member
from noslop_driver.inventory.render import GROUPS
from noslop_driver.models import Plan, Proposal, StudioSettings

BY_HARDWARE = "services that fit its hardware"
"""The services of a host for which neither the inventory nor a setting has any: its facts decide."""
_NOTHING = "nothing"
_UNSET = "not set"


class ChangeKind(StrEnum):
    """The kind of a difference."""

    HOST_ADDED = "host added"
    HOST_REMOVED = "host removed"
    ROLES = "roles"
    VARIABLE = "variable"


@dataclass(frozen=True)
class Change:
    """A difference between an inventory and a plan."""

    kind: ChangeKind
    host: str = ""
    """Empty for a variable of the studio."""
    variable: str = ""
    """Empty for hosts and their roles, which are groups."""
    old: object = None
    new: object = None


def list_host_changes(plan: Plan, members: Sequence[Member], moved: Mapping[str, str]) -> list[Change]:
    """Return the hosts that a plan adds, removes, or gives other roles or another address.

    Args:
        plan: the plan of the members, and of new hosts.
        members: the hosts of the inventory.
        moved: the new addresses of members, by name.
    """
    changes = []
    present = {member.name: member for member in members}
    addresses = {host.name: host.address for host in plan.hosts}
    roles = {proposal.host: proposal for proposal in plan.proposals}
    for name, proposal in roles.items():
        if name not in present:
            changes.append(Change(ChangeKind.HOST_ADDED, name, new=addresses[name]))
        groups: frozenset[str] = present[name].groups if name in present else frozenset()
        if groups != set(proposal.roles) or not _is_decided(name, plan.settings):
            new = _describe_proposal(proposal, plan.settings, alone=len(roles) == 1)
            changes.append(Change(ChangeKind.ROLES, name, old=_join(groups), new=new))
    for name, address in moved.items():
        changes.append(Change(ChangeKind.VARIABLE, name, "ansible_host", present[name].address, address))
    changes += [
        Change(ChangeKind.HOST_REMOVED, member.name, old=member.studio_address)
        for member in members
        if member.name not in roles
    ]
    return changes


def list_setting_changes(settings: StudioSettings, previous: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the variables of the studio that a plan gives another value.

    Args:
        settings: those of the plan.
        previous: those of the inventory, under the names of `StudioSettings`; a missing one has its default.
    """
    values = _list_variables(settings.studio_id, previous)
    for name, new in settings.variables().items():
        if values.get(name) != new:
            yield Change(ChangeKind.VARIABLE, "", name, values.get(name), new)


def format_side(value: object) -> str:
    """Return one side of a change as text: an address or roles as they are, another value as YAML on one line."""
    if value is None:
        return _UNSET
    return value if isinstance(value, str) and value else studio_yml.format_value(value)


def _list_variables(studio_id: str, previous: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables as they are now, in the form that a plan gives them. An invalid one stays as it stands."""
    defaults = StudioSettings(studio_id=studio_id)
    values = defaults.variables()
    for name, value in previous.items():
        variable = PREFIX + name
        if variable in values:
            try:
                values[variable] = getattr(defaults.replace(**{name: value}), name)
            except ValueError:
                values[variable] = value
    return values


def _is_decided(name: str, settings: StudioSettings) -> bool:
    """Return whether the inventory or a setting has the services of a host."""
    return name in settings.roles


def _describe_proposal(proposal: Proposal, settings: StudioSettings, *, alone: bool) -> str:
    if _is_decided(proposal.host, settings):
        return _join(proposal.roles)
    storage = [role for role in proposal.roles if role.startswith("storage_") and (settings.server or alone)]
    return ", ".join([*storage, BY_HARDWARE])


def _join(groups: Sequence[str] | frozenset[str]) -> str:
    return ", ".join(group for group in GROUPS if group in groups) or _NOTHING
