# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes hosts of candidates: what the playbook noslop.studio.facts saw of each, or why it saw nothing.

Pure: `contacts` names the candidates for a first inventory, the caller runs the playbook on it, and `read` turns the
events of that run into hosts and problems.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from noslop_driver.ansible.events import Event, failure_of
from noslop_driver.hosts import ssh_errors
from noslop_driver.models import Candidate, Disk, Gpu, Host, Problem, Role
from noslop_driver.output.terminal import printable

_GROUPS = {*get_args(Role), "all", "ungrouped"}


@dataclass(frozen=True)
class Look:
    """What a look at the candidates gave: in the order of the candidates, whatever order they answered in."""

    hosts: list[Host]
    problems: list[Problem]


def contacts(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    """Give each candidate a name for the inventory of the first contact: its host name, else its address.

    Candidates with one name but different ports get the port as well; a host with a group's name, which Ansible would
    confuse it with, becomes `<name>-host`.
    """
    wanted = [(candidate.hostname or candidate.address, candidate) for candidate in candidates]
    counts = Counter(name for name, _candidate in wanted)
    return {
        (f"{name}-host" if name in _GROUPS else name) if counts[name] == 1 else f"{name}-{candidate.port}": candidate
        for name, candidate in wanted
    }


def read(contacted: Mapping[str, Candidate], user: str, events: Iterable[Event]) -> Look:
    """Read the events of a run of noslop.studio.facts.

    Args:
        contacted: inventory name to candidate, as `contacts` gave it or a studio's inventory has it. The name of a
            candidate with a `hostname` stays; any other host is called what it calls itself.
        user: the account that was used.
        events: every event of the run.
    """
    facts: dict[str, dict[str, Any]] = {}
    problems: dict[str, list[Problem]] = {name: [] for name in contacted}
    for event in events:
        if event.host not in contacted:
            continue
        if event.kind == "ok":
            facts.setdefault(event.host, {}).update(event.result.get("ansible_facts") or {})
        failure = failure_of(event)
        if failure:
            candidate = contacted[event.host]
            problems[event.host].append(ssh_errors.explain(event.host, candidate, user, failure.message))
    hosts: dict[str, Host] = {}
    for name, candidate in contacted.items():
        seen = facts.get(name)
        if seen and "ansible_architecture" in seen:
            hosts[name] = _host(name, candidate, user, seen)
        elif not problems[name]:
            problems[name].append(ssh_errors.silent(name, candidate))
    hosts = _named(hosts, contacted)
    for name, host in hosts.items():
        # It let us in and described itself: a part that failed is told, and stops nothing.
        changes = {"fatal": False, "host": host.name}
        problems[name] = [problem.model_copy(update=changes) for problem in problems[name]]
        problems[name] += _cloned(host, contacted[name])
    return Look(list(hosts.values()), [problem for of_host in problems.values() for problem in of_host])


def _host(name: str, candidate: Candidate, user: str, facts: Mapping[str, Any]) -> Host:
    own_name = _word(facts.get("ansible_hostname")).lower()
    return Host(
        name=name if candidate.hostname or own_name in ("", "localhost") else own_name,
        address=candidate.address,
        port=candidate.port,
        user=user,
        os=_word(facts.get("ansible_distribution")),
        os_version=_word(facts.get("ansible_distribution_version")),
        kernel=_word(facts.get("ansible_kernel")),
        arch=_word(facts.get("ansible_architecture")),
        service_manager=_word(facts.get("ansible_service_mgr")),
        cpus=_count(facts.get("ansible_processor_vcpus")) or _count(facts.get("ansible_processor_nproc")),
        memory_mib=_count(facts.get("ansible_memtotal_mb")),
        gpus=list(_gpus(facts.get("noslop_gpus"))),
        disks=list(_disks(facts.get("ansible_mounts"))),
        machine_id=str(facts.get("ansible_machine_id") or ""),
        addresses=_addresses(facts),
        host_key=candidate.host_key,
        named=candidate.named,
    )


def _gpus(cards: object) -> Iterable[Gpu]:
    known = set(Gpu.model_fields)
    for card in _dicts(cards):
        try:
            gpu = Gpu.model_validate({key: value for key, value in card.items() if key in known})
        except ValidationError:
            # A card that was seen is not hidden because one of its values makes no sense.
            why = "what it says about itself makes no sense"
            gpu = Gpu(vendor=str(card.get("vendor", "")), name=str(card.get("name", "")), usable=False, why=why)
        texts = {name: _word(getattr(gpu, name)) for name in ("vendor", "name", "why")}
        yield gpu.model_copy(update={**texts, "driver": gpu.driver and _word(gpu.driver)})


def _disks(mounts: object) -> Iterable[Disk]:
    seen = set()
    for mount in _dicts(mounts):
        size, free = _count(mount.get("size_total")), _count(mount.get("size_available"))
        where = str(mount.get("mount") or "")
        if size and free is not None and where not in seen:
            seen.add(where)
            yield Disk(mount=where, size_bytes=size, free_bytes=free, fstype=str(mount.get("fstype") or ""))


def _addresses(facts: Mapping[str, Any]) -> list[str]:
    found = [*(facts.get("ansible_all_ipv4_addresses") or []), *(facts.get("ansible_all_ipv6_addresses") or [])]
    return list(dict.fromkeys(str(address) for address in found))


def _cloned(host: Host, candidate: Candidate) -> list[Problem]:
    """Find machines that were taken for one because they show one host key.

    The host knows its own addresses: one that is not among them belongs to another machine. Where even the address
    we used is not among them (behind address translation) nothing can be said.
    """
    if candidate.address not in host.addresses:
        return []
    strangers = [address for address in candidate.addresses if address.partition("%")[0] not in host.addresses]
    if not strangers:
        return []
    return [
        Problem(
            kind="cloned_host_key",
            host=host.name,
            what=f"{', '.join(strangers)} shows the same SSH host key as {host.name} ({host.address}), but is no "
            f"address of it ({', '.join(host.addresses)}): machines made from one image, which cannot be told apart.",
            todo=f"Give every machine but one keys of its own, as root there: `rm /etc/ssh/ssh_host_*_key*; "
            f"ssh-keygen -A; systemctl restart ssh`. Or name only the machines you want (--host {host.address}).",
        )
    ]


def _named(hosts: Mapping[str, Host], contacted: Mapping[str, Candidate]) -> dict[str, Host]:
    """Make names that hosts gave themselves unique, and different from groups' names.

    A name that several hosts have is made longer by the address, for each of them: which one may keep it would
    depend on who answered.
    """
    counts = Counter(host.name for host in hosts.values())
    named = {}
    for contact, host in hosts.items():
        name = host.name
        if not contacted[contact].hostname and name != contact:
            name = re.sub(r"[^a-z0-9_.-]", "-", name)
            if counts[host.name] > 1 or name in _GROUPS:
                name += re.sub(r"[^0-9a-zA-Z]", "-", f"-{contact}")
        named[contact] = host.model_copy(update={"name": name})
    return named


def _dicts(values: object) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


def _word(value: object) -> str:
    """Return a text that a host says of itself, on one line."""
    return " ".join(printable(str(value or "")).split())


def _count(value: object) -> int | None:
    """A whole number that is not negative; None for anything else."""
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if number >= 0 else None
