# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the events of the playbook noslop.studio.facts into hosts, and into problems of those without facts.

Pure: `make_targets` names the candidates for the bootstrap inventory, the caller runs the playbook on it, and
`parse_events` turns the events of that run into hosts and problems.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from noslop_driver.ansible.events import Event, read_failure
from noslop_driver.choices import Role
from noslop_driver.hosts import ssh_errors
from noslop_driver.models import Candidate, Disk, Endpoint, Gpu, Host, Problem
from noslop_driver.output.printable import printable

_GROUPS = {*get_args(Role), "all", "ungrouped"}


@dataclass(frozen=True)
class Target:
    """A host whose facts are gathered."""

    endpoint: Endpoint
    keep_name: bool = True
    """False if the host gets the name that its facts have."""
    named: bool = True
    """True if the user or the inventory named this host: then its problems are fatal."""
    host_key: str | None = None
    addresses: Sequence[str] = field(default_factory=tuple)
    """Every address that showed the same host key."""


@dataclass(frozen=True)
class GatheredFacts:
    """Hosts and problems, in the order of the targets."""

    hosts: list[Host]
    problems: list[Problem]


def make_targets(candidates: Iterable[Candidate]) -> list[Target]:
    """Return each candidate under its name in the bootstrap inventory: its host name, else its address.

    Candidates with the same name and different ports get the port as well; a host with the name of a group, which
    Ansible would confuse with it, becomes `<name>-host`.
    """
    named = [(candidate.hostname or candidate.address, candidate) for candidate in candidates]
    counts = Counter(name for name, _candidate in named)
    targets = []
    for name, candidate in named:
        unique_name = f"{name}-host" if name in _GROUPS else name
        if counts[name] > 1:
            unique_name = f"{name}-{candidate.port}"
        targets.append(
            Target(
                Endpoint(
                    name=unique_name,
                    address=candidate.address,
                    port=candidate.port,
                    user=candidate.user,
                    ssh=candidate.ssh,
                ),
                keep_name=bool(candidate.hostname),
                named=candidate.named,
                host_key=candidate.host_key,
                addresses=candidate.addresses,
            )
        )
    return targets


def parse_events(targets: Iterable[Target], user: str, events: Iterable[Event]) -> GatheredFacts:
    """Parse the events of a run of noslop.studio.facts.

    Args:
        targets: the hosts of that run, from `make_targets` or a studio's inventory.
        user: the account of the login, on hosts without one of their own.
        events: every event of the run.
    """
    by_name = {target.endpoint.name: target for target in targets}
    facts: dict[str, dict[str, Any]] = {}
    problems: dict[str, list[Problem]] = {name: [] for name in by_name}
    for event in events:
        if event.host not in by_name:
            continue
        if event.kind == "ok":
            facts.setdefault(event.host, {}).update(event.result.get("ansible_facts") or {})
        failure = read_failure(event)
        if failure:
            target = by_name[event.host]
            account = target.endpoint.user or user
            problem = ssh_errors.explain(target.endpoint, account, failure.message, fatal=target.named)
            problems[event.host].append(problem)
    hosts: dict[str, Host] = {}
    for name, target in by_name.items():
        host_facts = facts.get(name)
        if host_facts and "ansible_architecture" in host_facts:
            hosts[name] = _make_host(target, user, host_facts)
        elif not problems[name]:
            problems[name].append(ssh_errors.explain_silence(target.endpoint, fatal=target.named))
    hosts = _make_names_unique(hosts, by_name)
    for name, host in hosts.items():
        # The login succeeded and there are facts: a task that failed is reported and does not stop the command.
        changes = {"fatal": False, "host": host.name}
        problems[name] = [problem.model_copy(update=changes) for problem in problems[name]]
        problems[name] += _find_cloned_host_keys(host, by_name[name])
    return GatheredFacts(list(hosts.values()), [problem for of_host in problems.values() for problem in of_host])


def _make_host(target: Target, user: str, facts: Mapping[str, Any]) -> Host:
    endpoint = target.endpoint
    own_name = _to_line(facts.get("ansible_hostname")).lower()
    return Host(
        name=endpoint.name if target.keep_name or own_name in ("", "localhost") else own_name,
        address=endpoint.address,
        port=endpoint.port,
        user=endpoint.user or user,
        ssh=endpoint.ssh,
        os=_to_line(facts.get("ansible_distribution")),
        os_version=_to_line(facts.get("ansible_distribution_version")),
        kernel=_to_line(facts.get("ansible_kernel")),
        arch=_to_line(facts.get("ansible_architecture")),
        service_manager=_to_line(facts.get("ansible_service_mgr")),
        cpus=_parse_count(facts.get("ansible_processor_vcpus")) or _parse_count(facts.get("ansible_processor_nproc")),
        memory_mib=_parse_count(facts.get("ansible_memtotal_mb")),
        gpus=list(_parse_gpus(facts.get("noslop_gpus"))),
        disks=list(_parse_disks(facts.get("ansible_mounts"))),
        machine_id=str(facts.get("ansible_machine_id") or ""),
        addresses=_list_addresses(facts),
        host_key=target.host_key,
        named=target.named,
    )


def _parse_gpus(cards: object) -> Iterable[Gpu]:
    fields = set(Gpu.model_fields)
    for card in _only_mappings(cards):
        try:
            gpu = Gpu.model_validate({key: value for key, value in card.items() if key in fields})
        except ValidationError:
            # A card with an invalid value is listed as unusable, not dropped.
            why = "its description has invalid values"
            gpu = Gpu(vendor=str(card.get("vendor", "")), name=str(card.get("name", "")), usable=False, why=why)
        texts = {name: _to_line(getattr(gpu, name)) for name in ("vendor", "name", "why")}
        yield gpu.model_copy(update={**texts, "driver": gpu.driver and _to_line(gpu.driver)})


def _parse_disks(mounts: object) -> Iterable[Disk]:
    mount_points = set()
    for mount in _only_mappings(mounts):
        size, free = _parse_count(mount.get("size_total")), _parse_count(mount.get("size_available"))
        mount_point = str(mount.get("mount") or "")
        if size and free is not None and mount_point not in mount_points:
            mount_points.add(mount_point)
            yield Disk(mount=mount_point, size_bytes=size, free_bytes=free, fstype=str(mount.get("fstype") or ""))


def _list_addresses(facts: Mapping[str, Any]) -> list[str]:
    addresses = [*(facts.get("ansible_all_ipv4_addresses") or []), *(facts.get("ansible_all_ipv6_addresses") or [])]
    return list(dict.fromkeys(str(address) for address in addresses))


def _find_cloned_host_keys(host: Host, target: Target) -> list[Problem]:
    """Find machines that were merged into one candidate because they show the same host key.

    An address that is not among the host's own addresses belongs to another machine. Where the address of the login is
    not among them either (behind address translation), the two cases cannot be told apart.
    """
    if target.endpoint.address not in host.addresses:
        return []
    foreign_addresses = [address for address in target.addresses if address.partition("%")[0] not in host.addresses]
    if not foreign_addresses:
        return []
    return [
        Problem(
            kind="cloned_host_key",
            host=host.name,
            what=f"{', '.join(foreign_addresses)} shows the same SSH host key as {host.name} ({host.address}), but is "
            f"not an address of it ({', '.join(host.addresses)}): machines made from one image, which cannot be told "
            "apart.",
            todo=f"Give every machine but one keys of its own, as root there: `rm /etc/ssh/ssh_host_*_key*; "
            f"ssh-keygen -A; systemctl restart ssh`. Or name only the machines you want (--host {host.address}).",
        )
    ]


def _make_names_unique(hosts: Mapping[str, Host], targets: Mapping[str, Target]) -> dict[str, Host]:
    """Return the hosts with names from their facts that are unique and not those of groups.

    Each of several hosts with the same name gets its address appended: if one of them kept the name, which one would
    depend on which hosts answered.
    """
    counts = Counter(host.name for host in hosts.values())
    named = {}
    for inventory_name, host in hosts.items():
        name = host.name
        if not targets[inventory_name].keep_name and name != inventory_name:
            name = re.sub(r"[^a-z0-9_.-]", "-", name)
            if counts[host.name] > 1 or name in _GROUPS:
                name += re.sub(r"[^0-9a-zA-Z]", "-", f"-{inventory_name}")
        named[inventory_name] = host.model_copy(update={"name": name})
    return named


def _only_mappings(values: object) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


def _to_line(value: object) -> str:
    """Return a text from a host's facts on one line, without control characters."""
    return " ".join(printable(str(value or "")).split())


def _parse_count(value: object) -> int | None:
    """Return a value as a whole number that is not negative; None for any other value."""
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if number >= 0 else None
