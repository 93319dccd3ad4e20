# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook noslop.studio.environment on one host, which reads the variables that the studio gives programs."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.status import environment
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from noslop_driver.errors import DriverError, UnreachableError
from noslop_driver.hosts import presence, ssh_errors, sudo
from noslop_driver.hosts.login import Login
from noslop_driver.hosts.playbook_run import collect_events
from noslop_driver.hosts.status_run import explain_failure
from noslop_driver.inventory.directory import Member
from noslop_driver.output.terminal import Terminal
from noslop_driver.records import NODE_VARIABLES

PLAYBOOK = "noslop.studio.environment"
EXTRA_VARIABLE = "node_env_extra"
"""The variable of the inventory with further variables of a host."""
_RESULT = "studio_environment"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXTRA_SHARE = re.compile(r"SHARE_\w+_DIR", re.ASCII)


class _Answer(TypedDict):
    variables: dict[str, str]
    secrets: list[str]


_ANSWER = TypeAdapter(_Answer)


@dataclass(frozen=True)
class Environment:
    """The variables of a host, the names of its secrets, and those of variables that are not the studio's."""

    variables: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read_environment(inventory: Path, member: Member, login: Login, terminal: Terminal) -> Environment:
    """Return the variables of a host; if sudo needs a password that no flag gave, ask for it.

    Raises:
        UnreachableError: it does not answer.
        DriverError: it cannot be asked, or has none.
        KeyboardInterrupt: the run was interrupted.
    """
    # Standard output is for the variables.
    beside = replace(terminal, json_output=True)
    while True:
        events, outcome = collect_events(
            *(PLAYBOOK, inventory, f"Reading the variables of {member.name}", beside),
            secrets=login.secrets,
            variables={},
            limit=member.name,
        )
        needing = any(ssh_errors.is_sudo_password_missing(failure.message) for failure in outcome.failures)
        if not needing or login.secrets.become_password or not terminal.can_ask_password:
            break
        login = replace(login, secrets=sudo.ask_for_password([member.name], login.secrets, beside, inventory))
    values = [event.result[_RESULT] for event in events if event.kind == "ok" and _RESULT in event.result]
    if not values:
        problem = explain_failure(member, outcome)
        error = UnreachableError if problem.kind in presence.AWAY_KINDS else DriverError
        raise error(f"{problem.what} {problem.todo}")
    extra = member.variables.get(EXTRA_VARIABLE)
    selected = select_variables(values[-1], set(extra) if isinstance(extra, dict) else ())
    if not selected.variables:
        raise DriverError(
            f"{member.name} has no {studio.NODE_ENV_FILE} with variables of a studio. 'noslop-driver deploy' writes it."
        )
    return selected


def select_variables(value: object, extra: Collection[str]) -> Environment:
    """Return what a host answered, without variables that a shell on another computer must not get from it.

    Args:
        value: the answer, which may be anything: a hostile host could name PATH or LD_PRELOAD.
        extra: the names of further variables that the inventory gives this host.
    """
    try:
        answer = _ANSWER.validate_python(value)
    except ValidationError as error:
        raise DriverError("The host answered something else than its variables.") from error
    selected = Environment()
    for name, text in answer["variables"].items():
        if _is_of_studio(name, extra) and text.isprintable():
            selected.variables[name] = text
        else:
            selected.left_out.append("".join(char for char in name if char.isprintable()))
    selected.secrets.extend(name for name in answer["secrets"] if _NAME.fullmatch(name))
    return selected


def _is_of_studio(name: str, extra: Collection[str]) -> bool:
    """Return whether a variable is one of NoSlop's files: not each `NOSLOP_*`, of which some direct NoSlop itself."""
    if name in NODE_VARIABLES or environment.OPEN.fullmatch(name) or _EXTRA_SHARE.fullmatch(name):
        return True
    return name in extra and _NAME.fullmatch(name) is not None
