# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proposes who does what in a studio, and why. Pure: hosts and wishes in, a plan out, the same one for any order.

What the user wishes wins over what is proposed. What stands in the way is a problem in the plan, never an exception:
a person wants to see all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noslop_driver.models import Host, Plan, Problem, Proposal, Role, ServiceRole, Wishes
from noslop_driver.planning import validation
from noslop_driver.planning.scoring import GB, Room, gb, in_words, room_of, scores

_PREFERENCE = {"yes": 0, "unknown": 1, "no": 2}
_LABELS = {"ollama": "Ollama", "comfyui": "ComfyUI", "backend": "the backend"}


@dataclass(frozen=True)
class _Part:
    """One host with what is decided about it."""

    host: Host
    score: int
    room: Room


def make_plan(hosts: Iterable[Host], wishes: Wishes, problems: Sequence[Problem] = ()) -> Plan:
    """Make a plan.

    Args:
        hosts: the machines that let us in.
        wishes: what the user wants; its `server` and `roles` are names of hosts.
        problems: what discovery and facts saw, to be listed with the plan's own.

    Returns:
        A plan with a proposal for each host that can take part, the storage server first. Its wishes are those that
        hold: one machine alone keeps its storage local.
    """
    machines, same = _one_machine_once(hosts, wishes)
    members, unfit = validation.split_unfit(machines)
    found = [*problems, *same, *unfit]
    if not members:
        found.append(validation.no_hosts())
        return Plan(hosts=[], proposals=[], server=None, wishes=wishes, problems=found)
    if len(members) == 1 and wishes.storage_provider == "nfs":
        wishes = wishes.changed(storage_provider="local")
        found.append(validation.alone(members[0]))
    parts = [
        _Part(host, score, room_of(host, wishes)) for host, score in zip(members, scores(members, wishes), strict=True)
    ]
    server = _choose_server(parts, wishes)
    services = _services(parts, server, wishes)
    parts.sort(key=lambda part: (part is not server, -part.score, part.host.name))
    proposals = [_proposal(part, server, parts, services[part.host.name], wishes) for part in parts]
    members = [part.host for part in parts]
    found += validation.of_wishes(wishes, members)
    found += validation.of_addresses(members)
    found += validation.of_room(server.host, server.room, members, wishes)
    found += validation.of_file_systems(server.host, wishes)
    found += validation.of_services(members, services)
    return Plan(hosts=members, proposals=proposals, server=server.host.name, wishes=wishes, problems=found)


def _one_machine_once(hosts: Iterable[Host], wishes: Wishes) -> tuple[list[Host], list[Problem]]:
    """Drop second names of a machine; the one that stays is what the user speaks of, else the first by name."""
    spoken_of = {wishes.server, *wishes.roles}
    ordered = sorted(
        hosts, key=lambda host: (host.name not in spoken_of, not host.named, host.name, host.address, host.port)
    )
    kept: list[Host] = []
    problems: list[Problem] = []
    for host in ordered:
        twin = next((other for other in kept if _same_machine(host, other)), None)
        if twin:
            problems.append(validation.same_machine(twin, host))
            continue
        clone = next((other for other in kept if host.machine_id and other.machine_id == host.machine_id), None)
        if clone:
            problems.append(validation.cloned(clone, host))
        kept.append(host)
    return kept, problems


def _same_machine(one: Host, other: Host) -> bool:
    if (one.address, one.port) == (other.address, other.port):
        return True
    if not one.machine_id or one.machine_id != other.machine_id:
        return False
    # Copies of one image may share a machine-id; an address of its own, nobody shares. Not any common address will do:
    # every Docker host has 172.17.0.1.
    if one.address in other.addresses or other.address in one.addresses:
        return True
    return bool(one.addresses) and set(one.addresses) == set(other.addresses)


def _choose_server(parts: Sequence[_Part], wishes: Wishes) -> _Part:
    """The host the user named, else the best score among those with the room; ties go to more room, then by name."""
    for part in parts:
        if part.host.name == wishes.server:
            return part
    return min(
        parts,
        key=lambda part: (_PREFERENCE[part.room.enough], -part.score, -part.room.free_bytes, part.host.name),
    )


def _services(parts: Sequence[_Part], server: _Part, wishes: Wishes) -> dict[str, list[ServiceRole]]:
    """Host name to the services it is to run."""
    any_gpu = any(_has_gpu(part.host) and validation.runs_services(part.host) for part in parts)
    # The backend writes where the disks are, unless the user put it elsewhere.
    backend_elsewhere = any("backend" in wishes.roles.get(part.host.name, []) for part in parts)
    services: dict[str, list[ServiceRole]] = {}
    for part in parts:
        name = part.host.name
        if name in wishes.roles:
            services[name] = [role for role in _LABELS if role in wishes.roles[name]]
            continue
        services[name] = []
        if validation.runs_services(part.host) and (_has_gpu(part.host) or not any_gpu):
            services[name] += ["ollama", "comfyui"]
        if part is server and not backend_elsewhere:
            services[name].append("backend")
    return services


def _proposal(
    part: _Part, server: _Part, parts: Sequence[_Part], services: list[ServiceRole], wishes: Wishes
) -> Proposal:
    storage: list[Role] = ["storage_server"] if part is server else ["storage_clients"]
    return Proposal(
        host=part.host.name,
        score=part.score,
        roles=[*storage, *services],
        reasons=[
            f"{in_words(part.host)}.",
            _why_storage(part, server, parts, wishes),
            *_why_services(part.host, parts, services, wishes),
        ],
    )


def _why_storage(part: _Part, server: _Part, parts: Sequence[_Part], wishes: Wishes) -> str:
    wanted = gb(wishes.min_free_gb * GB)
    if part is server:
        return f"{_why_server(part, parts, wishes, wanted)} {_room_in_words(part.room)}"
    if part.room.enough == "no" and server.room.enough != "no":
        return f"Worker: the storage needs {wanted} free. {_room_in_words(part.room)}"
    if part.room.enough == "unknown" and server.room.enough == "yes":
        return f"Worker: another host is known to have {wanted} free. {_room_in_words(part.room)}"
    return "Worker: another host is the storage server."


def _why_server(server: _Part, parts: Sequence[_Part], wishes: Wishes, wanted: str) -> str:
    among = [part for part in parts if part.room.enough == server.room.enough]
    equals = [part for part in among if part.score == server.score]
    have = f"with {wanted} free" if server.room.enough == "yes" else "that may have the room"
    if len(parts) == 1:
        why = "Holds the storage: it is the only host."
    elif server.host.name == wishes.server:
        why = "Storage server: you chose it."
    elif server.room.enough == "no":
        why = f"Storage server for want of a better one: no host has {wanted} free."
    elif len(among) == 1:
        why = f"Storage server: the only host {have}."
    elif len(equals) > 1:
        why = f"Storage server: no host {have} has a higher score."
    else:
        why = f"Storage server: the highest score of the {len(among)} hosts {have}."
    return why


def _room_in_words(room: Room) -> str:
    if not room.disks:
        return "Its free space is not known."
    return "Free for the shares: " + ", ".join(f"{gb(disk.free_bytes)} on {disk.mount}" for disk in room.disks) + "."


def _why_services(host: Host, parts: Sequence[_Part], services: Sequence[ServiceRole], wishes: Wishes) -> list[str]:
    labels = " and ".join(_LABELS[role] for role in services) or "no services"
    if host.name in wishes.roles:
        return [f"Runs {labels}: you chose it."]
    reasons = []
    compute = " and ".join(_LABELS[role] for role in services if role != "backend")
    if compute:
        why = "it has a GPU that can be used" if _has_gpu(host) else "no host has a GPU that can be used"
        reasons.append(f"Runs {compute}{'' if _has_gpu(host) else ' on its CPU'}: {why}.")
    elif not validation.runs_services(host):
        reasons.append(f"Runs no services: there are none for the architecture {host.arch or 'it has'}.")
    else:
        reasons.append("Runs no services: other hosts have GPUs that can be used, and it has none.")
    if "backend" in services:
        reasons.append("Runs the backend: that writes where the disks are.")
    reasons += [f"{gpu.name} cannot be used: {gpu.why}" for gpu in host.gpus if not gpu.usable]
    return reasons


def _has_gpu(host: Host) -> bool:
    return any(gpu.usable for gpu in host.gpus)
