# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Propose the roles of a studio's hosts, with reasons. Pure: the plan does not depend on the order of the hosts.

Settings override proposals. An invalid plan has problems and raises no exception, so that the user sees all problems at
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.choices import Role, ServiceRole
from noslop_driver.models import Host, Plan, Problem, Proposal, StudioSettings
from noslop_driver.planning import validation
from noslop_driver.planning.scoring import GB, FreeSpace, describe_hardware, find_free_space, format_gb, score_hosts

_SERVER_PREFERENCE = {"yes": 0, "unknown": 1, "no": 2}
_LABELS = {name: studio.SERVICES[name].title for name in ("ollama", "comfyui", "backend")}

_EXISTING = "Something else shares the storage: this host makes the directories and fetches the models for all. "
"""What the storage server does where it serves nothing."""


@dataclass(frozen=True)
class _ScoredHost:
    """A host with its score and free space."""

    host: Host
    score: int
    free_space: FreeSpace


def make_plan(hosts: Iterable[Host], settings: StudioSettings, problems: Sequence[Problem] = ()) -> Plan:
    """Make a plan.

    Args:
        hosts: the machines whose facts were gathered.
        settings: the settings of the studio; `server` and `roles` have names of hosts.
        problems: the problems of discovery and facts, which are listed with the plan's own.

    Returns:
        A plan with a proposal for each host that can be a member, the storage server first.
    """
    members, unfit_problems = select_members(hosts, settings)
    all_problems = [*problems, *unfit_problems]
    if not members:
        all_problems.append(validation.report_no_hosts())
        return Plan(hosts=[], proposals=[], server=None, settings=settings, problems=all_problems)
    scored_hosts = [
        _ScoredHost(host, score, find_free_space(host, settings))
        for host, score in zip(members, score_hosts(members, settings), strict=True)
    ]
    server = _choose_server(scored_hosts, settings)
    services = _assign_services(scored_hosts, server, settings)
    scored_hosts.sort(key=lambda scored: (scored is not server, -scored.score, scored.host.name))
    proposals = [
        _propose_roles(scored, server, scored_hosts, services[scored.host.name], settings) for scored in scored_hosts
    ]
    members = [scored.host for scored in scored_hosts]
    all_problems += validation.check_settings(settings, members)
    all_problems += validation.check_studio(settings, server.host, members, services)
    all_problems += validation.check_free_space(server.host, server.free_space, members, settings)
    all_problems += validation.check_file_systems(server.host, settings)
    all_problems += validation.check_transport(members, settings)
    all_problems += validation.check_services(members, services)
    return Plan(hosts=members, proposals=proposals, server=server.host.name, settings=settings, problems=all_problems)


def select_members(hosts: Iterable[Host], settings: StudioSettings) -> tuple[list[Host], list[Problem]]:
    """Return the hosts that can be members, each machine once, and the problems of the others."""
    machines, duplicate_problems = _drop_duplicates(hosts, settings)
    members, unfit_problems = validation.split_unfit_hosts(machines)
    return members, [*duplicate_problems, *unfit_problems]


def _drop_duplicates(hosts: Iterable[Host], settings: StudioSettings) -> tuple[list[Host], list[Problem]]:
    """Drop other names of the same machine; a name in the settings stays, else the first by name."""
    names_in_settings = {settings.server, *settings.roles}
    ordered = sorted(
        hosts, key=lambda host: (host.name not in names_in_settings, not host.named, host.name, host.address, host.port)
    )
    kept: list[Host] = []
    problems: list[Problem] = []
    for host in ordered:
        duplicate = next((other for other in kept if _is_same_machine(host, other)), None)
        if duplicate:
            problems.append(validation.report_same_machine(duplicate, host))
            continue
        kept.append(host)
    return kept, problems


def _is_same_machine(one: Host, other: Host) -> bool:
    if (one.address, one.port) == (other.address, other.port):
        return True
    if not one.machine_id or one.machine_id != other.machine_id:
        return False
    # Copies of one image may have the same machine-id, but not the same address. A common address alone proves nothing:
    # every Docker host has 172.17.0.1.
    if one.address in other.addresses or other.address in one.addresses:
        return True
    return bool(one.addresses) and set(one.addresses) == set(other.addresses)


def _choose_server(scored_hosts: Sequence[_ScoredHost], settings: StudioSettings) -> _ScoredHost:
    """Return the server of the settings, else the best host.

    Hosts with enough free space come first, then the highest score, then the most free space, then the name.
    """
    for scored in scored_hosts:
        if scored.host.name == settings.server:
            return scored
    return min(
        scored_hosts,
        key=lambda scored: (
            _SERVER_PREFERENCE[scored.free_space.enough],
            -scored.score,
            -scored.free_space.free_bytes,
            scored.host.name,
        ),
    )


def _assign_services(
    scored_hosts: Sequence[_ScoredHost], server: _ScoredHost, settings: StudioSettings
) -> dict[str, list[ServiceRole]]:
    """Return the services of each host, by its name."""
    any_gpu = any(_has_gpu(scored.host) and validation.can_run_services(scored.host) for scored in scored_hosts)
    # The backend runs on the storage server, unless the settings assign it to another host.
    backend_assigned = any("backend" in settings.roles.get(scored.host.name, []) for scored in scored_hosts)
    services: dict[str, list[ServiceRole]] = {}
    for scored in scored_hosts:
        name = scored.host.name
        if name in settings.roles:
            services[name] = [role for role in _LABELS if role in settings.roles[name]]
            continue
        services[name] = []
        if validation.can_run_services(scored.host) and (_has_gpu(scored.host) or not any_gpu):
            services[name] += ["ollama", "comfyui"]
        if scored is server and not backend_assigned:
            services[name].append("backend")
    return services


def _propose_roles(
    scored: _ScoredHost,
    server: _ScoredHost,
    scored_hosts: Sequence[_ScoredHost],
    services: list[ServiceRole],
    settings: StudioSettings,
) -> Proposal:
    storage: list[Role] = ["storage_server"] if scored is server else ["storage_clients"]
    return Proposal(
        host=scored.host.name,
        score=scored.score,
        roles=[*storage, *services],
        reasons=[
            f"{describe_hardware(scored.host)}.",
            _explain_storage_role(scored, server, scored_hosts, settings),
            *_explain_services(scored.host, scored_hosts, services, settings),
        ],
    )


def _explain_storage_role(
    scored: _ScoredHost, server: _ScoredHost, scored_hosts: Sequence[_ScoredHost], settings: StudioSettings
) -> str:
    min_free = format_gb(settings.min_free_gb * GB)
    if scored is server:
        part = _EXISTING if settings.storage_provider == "existing" else ""
        why = _explain_server(scored, scored_hosts, settings, min_free)
        return f"{why} {part}{_describe_free_space(scored.free_space)}"
    if scored.free_space.enough == "no" and server.free_space.enough != "no":
        return f"Worker: the storage needs {min_free} free. {_describe_free_space(scored.free_space)}"
    if scored.free_space.enough == "unknown" and server.free_space.enough == "yes":
        return f"Worker: another host has {min_free} free. {_describe_free_space(scored.free_space)}"
    return "Worker: another host is the storage server."


def _explain_server(
    server: _ScoredHost, scored_hosts: Sequence[_ScoredHost], settings: StudioSettings, min_free: str
) -> str:
    similar = [scored for scored in scored_hosts if scored.free_space.enough == server.free_space.enough]
    equal = [scored for scored in similar if scored.score == server.score]
    condition = f"with {min_free} free" if server.free_space.enough == "yes" else "that may have enough free space"
    if len(scored_hosts) == 1:
        why = "Stores the shared directories: it is the only host."
    elif server.host.name == settings.server:
        why = "Storage server: you chose it."
    elif server.free_space.enough == "no":
        why = f"Storage server, although no host has {min_free} free."
    elif len(similar) == 1:
        why = f"Storage server: the only host {condition}."
    elif len(equal) > 1:
        why = f"Storage server: no host {condition} has a higher score."
    else:
        why = f"Storage server: the highest score of the {len(similar)} hosts {condition}."
    return why


def _describe_free_space(free_space: FreeSpace) -> str:
    if not free_space.disks:
        return "Its free space is not known."
    return (
        "Free for the shares: "
        + ", ".join(f"{format_gb(disk.free_bytes)} on {disk.mount}" for disk in free_space.disks)
        + "."
    )


def _explain_services(
    host: Host, scored_hosts: Sequence[_ScoredHost], services: Sequence[ServiceRole], settings: StudioSettings
) -> list[str]:
    labels = " and ".join(_LABELS[role] for role in services) or "no services"
    if host.name in settings.roles:
        return [f"Runs {labels}: you chose it."]
    reasons = []
    compute = " and ".join(_LABELS[role] for role in services if role != "backend")
    if compute:
        why = "it has a GPU that can be used" if _has_gpu(host) else "no host has a GPU that can be used"
        reasons.append(f"Runs {compute}{'' if _has_gpu(host) else ' on its CPU'}: {why}.")
    elif not validation.can_run_services(host):
        reasons.append(f"Runs no services: there are none for the architecture {host.arch or 'it has'}.")
    else:
        reasons.append("Runs no services: other hosts have GPUs that can be used, and it has none.")
    if "backend" in services:
        reasons.append("Runs the backend, which writes to the disks of the storage server.")
    reasons += [f"{gpu.name} cannot be used: {gpu.why}" for gpu in host.gpus if not gpu.usable]
    return reasons


def _has_gpu(host: Host) -> bool:
    return any(gpu.usable for gpu in host.gpus)
