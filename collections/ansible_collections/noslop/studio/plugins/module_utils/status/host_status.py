# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a host is doing, in parts that run at once and within a bound: one that hangs delays no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import server_connection
from ansible_collections.noslop.studio.plugins.module_utils.checks.verification import NOBODY
from ansible_collections.noslop.studio.plugins.module_utils.deployed import record
from ansible_collections.noslop.studio.plugins.module_utils.host import check_status, gpu, gpu_use, state
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, Outcome, run_all
from ansible_collections.noslop.studio.plugins.module_utils.services import versions
from ansible_collections.noslop.studio.plugins.module_utils.share import access, markers
from ansible_collections.noslop.studio.plugins.module_utils.status import services, units

ROOT = "/"
CARDS, CARDS_USE, UNITS, ROOM, SERVICE = "cards", "use of cards", "units", "room ", "service "
Work = Callable[[], Any]


@dataclass(frozen=True)
class Request:
    """The parts to read. ``services`` have a name, an address and a port, ``shares`` a name, a path and an owner.

    ``server_address`` is that of the storage server, on a host that mounts its shares over NFS; else empty.
    """

    services: Sequence[Mapping[str, Any]]
    shares: Sequence[Mapping[str, str]]
    studio_id: str
    server_address: str
    bound_s: float


def read(request: Request) -> dict[str, Any]:
    """Return what the host is doing. Needs a second more than the bound at most."""
    names = [service["name"] for service in request.services]
    is_root = os.geteuid() == 0
    own = Account(os.geteuid(), os.getegid(), tuple(os.getgroups()))
    works: dict[str, Work] = {
        CARDS: lambda: [[card.as_fact(), card.slot] for card in gpu.find_gpus(gpu.run_program)],
        CARDS_USE: lambda: {slot: vars(use) for slot, use in gpu_use.read_use(gpu.run_program).items()},
        UNITS: lambda: {"bad": units.read_bad_units(), "active": _read_activity(names)},
        ROOM + ROOT: lambda: _measure(ROOT),
    }
    accounts = dict.fromkeys(works, own)
    for service in request.services:
        part = SERVICE + service["name"]
        works[part] = _make_service_work(service)
        # A custom node can have ComfyUI answer anything: a process without rights reads it.
        accounts[part] = NOBODY if is_root else own
    for share in request.shares:
        part = ROOM + share["path"]
        works[part] = _make_share_work(share, request)
        accounts[part] = (access.share_owner(share["owner"]) or NOBODY) if is_root else own
    outcomes = run_all(works, accounts, request.bound_s)
    activity = (outcomes[UNITS].value or {}).get("active", {})
    places = [(ROOT, ROOT), *((share["name"], share["path"]) for share in request.shares)]
    deployed = record.read()
    return {
        "deployed": deployed.finished if deployed else "",
        "services": [
            {
                "service": name,
                "version": versions.read_version(name),
                "unit": activity.get(name, ""),
                **_describe_work(outcomes[SERVICE + name]),
            }
            for name in names
        ],
        "gpus": _join_cards(outcomes[CARDS], outcomes[CARDS_USE]),
        "room": [{"name": name, "path": path, **_describe_room(outcomes[ROOM + path])} for name, path in places],
        "units": (outcomes[UNITS].value or {}).get("bad", []),
        "problems": [f"{part}: {outcomes[part].error}" for part in (CARDS, CARDS_USE, UNITS) if outcomes[part].error],
        "monitor": _describe_monitor(check_status.read()),
    }


def _read_activity(names: Sequence[str]) -> dict[str, str]:
    """Return the state of the unit of each service, such as active or failed."""
    shown = state.read_units([studio.SERVICES[name].unit for name in names])
    return {name: unit.active if unit.load == "loaded" else unit.load for name, unit in zip(names, shown.values())}


def _make_service_work(service: Mapping[str, Any]) -> Work:
    return lambda: services.ask(service["name"], service["address"], service["port"])


def _make_share_work(share: Mapping[str, str], request: Request) -> Work:
    def work() -> dict[str, Any]:
        # A mount whose server is away would hang until it is back.
        error = server_connection.find_error(request.server_address) if request.server_address else ""
        if error:
            return _make_room(f"the storage server does not answer: {error}")
        # Below a mount point is another file system, whose room says nothing of the share.
        marker = os.path.join(share["path"], studio.MARKER)
        try:
            problem = markers.find_problem(markers.read(marker), request.studio_id, share["name"])
        except OSError as failure:
            problem = f"not mounted, or no share: {marker}: {failure.strerror}"
        return _make_room(problem) if problem else _measure(share["path"])

    return work


def _measure(path: str) -> dict[str, Any]:
    """Return the size of a file system and the room that is left for accounts, in bytes."""
    room = os.statvfs(path)
    return _make_room(size=room.f_blocks * room.f_frsize, free=room.f_bavail * room.f_frsize)


def _make_room(problem: str = "", size: int | None = None, free: int | None = None) -> dict[str, Any]:
    return {"size": size, "free": free, "problem": problem}


def _describe_work(outcome: Outcome) -> dict[str, Any]:
    nothing = {"models": None, "running": None, "waiting": None}
    return {"problem": outcome.error, **nothing} if outcome.error else dict(outcome.value)


def _describe_room(outcome: Outcome) -> dict[str, Any]:
    return _make_room(outcome.error) if outcome.error else dict(outcome.value)


def _describe_monitor(status: check_status.Status | None) -> dict[str, Any]:
    """Return when the host's own checks ended, in seconds since 1970, and what was bad since when."""
    if status is None:
        return {"finished": None, "phase": "", "bad": []}
    bad = [
        {"check": entry.check, "share": entry.share, "since": entry.since, "observed": entry.observed}
        for entry in status.bad
    ]
    return {"finished": status.finished, "phase": status.phase, "bad": bad}


def _join_cards(cards: Outcome, uses: Outcome) -> list[dict[str, Any]]:
    """Return the cards with their use, by the PCI address."""
    unknown = vars(gpu_use.UNKNOWN)
    return [
        {
            "name": card["name"],
            "memory_mib": card["memory_mib"],
            "problem": card["why"],
            **(uses.value or {}).get(slot, unknown),
        }
        for card, slot in cards.value or []
    ]
