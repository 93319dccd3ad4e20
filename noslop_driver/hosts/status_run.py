# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook noslop.studio.status: one task on all hosts at once, which reads what each of them is doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from noslop_driver.ansible.events import Event, Outcome, Status
from noslop_driver.errors import DriverError
from noslop_driver.hosts import presence, ssh_errors, sudo
from noslop_driver.hosts.login import Login
from noslop_driver.hosts.playbook_run import ask_members
from noslop_driver.inventory.directory import Member
from noslop_driver.models import Endpoint, Problem
from noslop_driver.output.terminal import Terminal

PLAYBOOK = "noslop.studio.status"
_RESULT = "studio_status"
"""The module, and the key of its result."""


class LoadedModelData(TypedDict):
    """A model in Ollama's memory, with its bytes, and those of them on a graphics card."""

    name: str
    size: int
    on_gpu: int


class ServiceStateData(TypedDict):
    """The state of a service. `models` are Ollama's, `running` and `waiting` the jobs of ComfyUI; null for the others.

    `version` is empty where it is not installed. `unit` is systemd's state, such as active or failed. `problem` is why
    it does not answer, or is not healthy.
    """

    service: str
    version: str
    unit: str
    problem: str
    models: list[LoadedModelData] | None
    running: int | None
    waiting: int | None


class CardData(TypedDict):
    """A graphics card. What its driver does not report is null; `problem` is why nothing can compute on it."""

    name: str
    memory_mib: int | None
    used_mib: int | None
    load_percent: int | None
    problem: str


class RoomData(TypedDict):
    """The room of a file system in bytes: that of `/`, or of a share. `problem` is why it cannot be measured."""

    name: str
    path: str
    size: int | None
    free: int | None
    problem: str


class BadUnitData(TypedDict):
    """A unit that failed or starts over and over, with the last errors in its journal, three at most."""

    unit: str
    state: str
    restarts: int
    lines: list[str]


class MonitorEntryData(TypedDict):
    """A check that a host found bad by itself, since when in seconds since 1970, and what it observed."""

    check: str
    share: str
    since: float
    observed: str


class MonitorData(TypedDict):
    """The own checks of a host. `finished` is when they ended, in seconds since 1970; null where there are none."""

    finished: float | None
    phase: str
    bad: list[MonitorEntryData]


class HostStateData(TypedDict):
    """The state of a host. `problems` are parts that could not be read.

    `deployed` is when a deployment last passed all its checks there, ISO 8601, UTC; empty if none did.
    """

    deployed: str
    services: list[ServiceStateData]
    gpus: list[CardData]
    room: list[RoomData]
    units: list[BadUnitData]
    problems: list[str]
    monitor: MonitorData


_STATE = TypeAdapter(HostStateData)


@dataclass(frozen=True)
class HostAnswer:
    """The answer of a host, or why there is none."""

    host: str
    up: bool
    """Whether it answered at all."""
    state: HostStateData | None = None
    reason: str = ""
    """Why there is no state; empty if there is one."""
    todo: str = ""


def ask_hosts(inventory: Path, members: Sequence[Member], login: Login, terminal: Terminal) -> list[HostAnswer]:
    """Ask every host once; if sudo needs a password that no flag gave, ask for it and ask the hosts again.

    Args:
        inventory: the directory of the studio.
        members: its hosts.
        login: the passwords.
        terminal: the terminal for progress, and to ask on.

    Raises:
        DriverError: Ansible failed.
        KeyboardInterrupt: the run was interrupted.
    """
    events, outcome = _run(inventory, members, login, terminal)
    refused = {failure.host for failure in outcome.failures if ssh_errors.is_sudo_password_missing(failure.message)}
    needing = [member.name for member in members if member.name in refused]
    if needing and not login.secrets.become_password and terminal.can_ask_password:
        login = replace(login, secrets=sudo.ask_for_password(needing, login.secrets, terminal, inventory))
        events, outcome = _run(inventory, members, login, terminal)
    if outcome.status is Status.ERROR and not events:
        raise DriverError(f"Ansible could not ask the hosts. Its message: {outcome.output}")
    return [parse_answer(member, events, outcome) for member in members]


def parse_answer(member: Member, events: Sequence[Event], outcome: Outcome) -> HostAnswer:
    """Return the answer of a host from the events of the playbook. What a host returns may be anything."""
    results = [event.result[_RESULT] for event in events if _is_answer(event, member.name)]
    if results:
        try:
            return HostAnswer(member.name, up=True, state=_STATE.validate_python(results[-1]))
        except ValidationError:
            return HostAnswer(
                member.name,
                up=True,
                reason=f"{member.name} returned something else than its state.",
                todo="Deploy with this version of NoSlop, and look at what runs on that host.",
            )
    problem = explain_failure(member, outcome)
    up = problem.kind not in presence.AWAY_KINDS
    return HostAnswer(member.name, up=up, reason=problem.what, todo=problem.todo)


def explain_failure(member: Member, outcome: Outcome) -> Problem:
    """Return why a run has no result of a host."""
    endpoint = Endpoint(name=member.name, address=member.address, port=member.port)
    messages = [failure.message for failure in outcome.failures if failure.host == member.name]
    if messages:
        return ssh_errors.explain(endpoint, member.user, messages[-1])
    return ssh_errors.explain_silence(endpoint, fatal=False)


def _is_answer(event: Event, host: str) -> bool:
    return event.kind == "ok" and event.host == host and isinstance(event.result.get(_RESULT), Mapping)


def _run(inventory: Path, members: Sequence[Member], login: Login, terminal: Terminal) -> tuple[list[Event], Outcome]:
    return ask_members(PLAYBOOK, inventory, members, login, terminal, title="Asking the hosts")
