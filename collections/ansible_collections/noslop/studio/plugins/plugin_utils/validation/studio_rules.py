# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a studio as a whole before it is deployed: its members, their identities, and its people. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.variable_rules import FILE

#: The name in the report for checks of no single host.
STUDIO = "studio"
CLOCK_TOLERANCE_S = 30.0
_STUDIO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Plan:
    """The content of the inventory: hosts by role, and the address and paths of each host."""

    hosts: Sequence[str]
    studio_id: str
    provider: str
    servers: Sequence[str]
    clients: Sequence[str]
    services: Mapping[str, Sequence[str]] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, Sequence[str]] = field(default_factory=dict)
    own_addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The addresses that a host's interfaces have, for hosts that are addressed as Ansible connects to them."""


def judge_plan(checks: Checks, plan: Plan) -> None:
    """Check that the inventory describes a studio that can work."""
    checks.add(
        "studio.id",
        bool(_STUDIO_ID.fullmatch(plan.studio_id)),
        seen=f"noslop_studio_id is {plan.studio_id!r}" if plan.studio_id else "noslop_studio_id is not set",
        expected="a name of letters, digits and . _ -",
        todo=f"set noslop_studio_id in {FILE}; `uuidgen` makes a unique one",
    )
    if not checks.add(
        "studio.provider",
        plan.provider in studio.PROVIDERS,
        seen=f"noslop_storage_provider is {plan.provider!r}",
        expected=enumerate_words(studio.PROVIDERS),
        todo=f"set noslop_storage_provider in {FILE}",
    ):
        return
    _judge_server(checks, plan)
    _judge_members(checks, plan)
    _judge_addresses(checks, plan)
    path_sets = {tuple(paths) for paths in plan.paths.values()}
    checks.add(
        "studio.paths",
        len(path_sets) <= 1,
        seen=f"{len(path_sets)} different sets of paths" if len(path_sets) > 1 else "one set of paths",
        expected="the same paths on every host",
        todo=f"set the noslop_*_dir variables and noslop_storage_root in {FILE}, not for single hosts",
    )


def _judge_server(checks: Checks, plan: Plan) -> None:
    count = len(plan.servers)
    # With existing storage it serves nothing: it makes the directories, fetches the models and keeps the lease.
    wanted = {"nfs": "exactly one", "local": "at most one", "existing": "exactly one"}[plan.provider]
    checks.add(
        "studio.server",
        count <= 1 if plan.provider == "local" else count == 1,
        seen=f"storage_server holds {enumerate_words(plan.servers, 'no host')}",
        expected=f"{wanted} storage server",
        todo="put one host into the group storage_server of hosts.yml, and the others into storage_clients",
    )
    if plan.provider == "local":
        checks.add(
            "studio.local",
            len(plan.hosts) <= 1,
            seen=f"{len(plan.hosts)} hosts: {enumerate_words(plan.hosts)}",
            expected="one host, since local storage is not shared",
            todo="set noslop_storage_provider to nfs, or leave one host in the inventory",
        )
    both = sorted(set(plan.servers) & set(plan.clients))
    checks.add(
        "studio.parts",
        not both,
        seen=f"server and client at once: {enumerate_words(both)}"
        if both
        else "server and clients are different hosts",
        expected="a host serves the storage or mounts it",
        todo=f"take {enumerate_words(both)} out of the group storage_clients",
    )


def _judge_members(checks: Checks, plan: Plan) -> None:
    outside = [host for host in plan.hosts if host not in {*plan.servers, *plan.clients}]
    checks.add(
        "studio.members",
        plan.provider != "nfs" or not outside,
        seen=f"{enumerate_words(outside)} neither serve nor mount the storage"
        if outside
        else "every host has the storage",
        expected="every host in storage_server or storage_clients",
        todo=f"put {enumerate_words(outside)} into the group storage_clients, or take them out of the inventory",
    )
    for service, hosts in plan.services.items():
        if not hosts:
            checks.note("studio.services", seen=f"no host runs {service}", expected=f"at least one host in {service}")
    backends = plan.services.get("backend", ())
    if len(backends) > 1:
        checks.add(
            "studio.backend",
            False,
            seen=f"the backend is to run on {enumerate_words(backends)}",
            expected="one backend, which owns the database",
            todo="leave it on one of them",
            host=backends[-1],
        )


def _judge_addresses(checks: Checks, plan: Plan) -> None:
    """Check the addresses of several hosts: exports and firewall rules are written with them."""
    if len(plan.hosts) < 2:
        return
    todo = "set noslop_address for each of them; for a new studio, name each host by an address of its own"
    _judge_uniqueness(checks, "studio.addresses", "the address", plan.addresses, todo)
    parsed = {host: _parse_address(plan.addresses.get(host, "")) for host in plan.hosts}
    for host, address in parsed.items():
        if address is None:
            check, observed = "studio.address_known", "no IP address is known"
        elif address.is_loopback:
            check, observed = "studio.address_reachable", f"other hosts cannot reach {address}"
        elif address.is_link_local:
            check, observed = "studio.address_reachable", f"{address} is valid on one link only"
        else:
            own = plan.own_addresses.get(host, ())
            if own and str(address) not in own:
                checks.note(
                    "studio.address_translated",
                    seen=f"{address} is none of the host's own addresses ({enumerate_words(own)}): something "
                    "translates in between; if the other hosts reach it at another address, set noslop_address for it",
                    expected="one of the host's own addresses",
                    host=host,
                )
            continue
        checks.add(
            check,
            False,
            seen=observed,
            expected="an IP address that the other hosts reach: exports and firewall rules are written with it",
            todo=f"set noslop_address for {host}; for a new studio, name it by its address",
            host=host,
        )
    versions = {number: [host for host, one in parsed.items() if one and one.version == number] for number in (6, 4)}
    if all(versions.values()):
        checks.add(
            "studio.address_families",
            False,
            seen="; ".join(f"{enumerate_words(hosts)} by IPv{number}" for number, hosts in versions.items()),
            expected="one version of IP, since hosts of two could not connect to each other",
            todo=f"set noslop_address for {enumerate_words(versions[6])} to an IPv4 address",
            host=min(versions[6]),
        )


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def judge_identities(checks: Checks, identities: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that hosts can be distinguished; clones of one disk image cannot."""
    machine_ids = {host: str(own["machine_id"]) for host, own in identities.items()}
    todo = (
        "name one of them only, if they are one machine; if not, give all but one an id of its own: as root there, "
        "`rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot`"
    )
    _judge_uniqueness(checks, "studio.machine_ids", "the machine id", machine_ids, todo)
    hostnames = {host: str(own["hostname"]) for host, own in identities.items()}
    todo = (
        "give each its own with `hostnamectl set-hostname NAME`: an NFS server takes clients of one name for one client"
    )
    _judge_uniqueness(checks, "studio.hostnames", "the host name", hostnames, todo)


def _judge_uniqueness(checks: Checks, check: str, what: str, values: Mapping[str, str], todo: str) -> None:
    owners: dict[str, list[str]] = {}
    for host, value in values.items():
        owners.setdefault(value, []).append(host)
    shared = {value: hosts for value, hosts in owners.items() if value and len(hosts) > 1}
    checks.add(
        check,
        not shared,
        seen="; ".join(f"{enumerate_words(hosts)} have {what} {value}" for value, hosts in shared.items())
        or "all different",
        expected=f"each host has {what} for itself",
        todo=todo,
        host=max((hosts[-1] for hosts in shared.values()), default=""),
    )


def judge_clocks(checks: Checks, epochs: Mapping[str, float], started: float, finished: float) -> None:
    """Check that clocks are not far off. The controller only has the times before and after the checks of the hosts.

    Args:
        checks: where the results go.
        epochs: each host's time, between these two.
        started: the controller's time before the first check.
        finished: its time after the last check.
    """
    wrong = {
        host: epoch - (started if epoch < started else finished)
        for host, epoch in epochs.items()
        if not started - CLOCK_TOLERANCE_S <= epoch <= finished + CLOCK_TOLERANCE_S
    }
    checks.add(
        "studio.clocks",
        not wrong,
        seen="; ".join(f"{host} is {seconds:+.0f} s off" for host, seconds in wrong.items()) or "no clock is far off",
        expected=f"within {CLOCK_TOLERANCE_S:g} s of this computer",
        todo=f"run `timedatectl set-ntp true` on {enumerate_words(wrong)}",
    )


def judge_users(checks: Checks, users: Iterable[str], unknown: Mapping[str, Sequence[str]]) -> None:
    """Check that the users who may write have accounts; an account that only some hosts lack is a note."""
    for user in users:
        without = [host for host, names in unknown.items() if user in names]
        if without and len(without) == len(unknown):
            checks.add(
                "studio.users",
                False,
                seen=f"no host has an account {user}",
                expected="noslop_users are accounts of people on the hosts",
                todo=f"correct noslop_users in {FILE}, or make the account {user}",
            )
        elif without:
            checks.note(
                "studio.users",
                seen=f"{enumerate_words(without)} have no account {user}, who cannot write to the shares there",
                expected=f"an account {user} wherever {user} works",
            )
