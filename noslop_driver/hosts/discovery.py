# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discover machines: named hosts, named networks, or the networks of this computer.

`plan_discovery` selects the addresses, so that they can be shown first; `discover` scans them; `search` does both and
prints what it does. The scan is the collection's, which the inventory plugin noslop.studio.lan uses too, and so is the
search for machines that announce themselves, which runs beside the scan of networks.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import interfaces, mdns, scan_targets, ssh_scan

from noslop_driver.errors import DriverError, UsageError
from noslop_driver.hosts import host_sources, proxied_host, ssh_config
from noslop_driver.hosts.ssh_config import ResolvedHost
from noslop_driver.models import Candidate, Model, Problem
from noslop_driver.output.terminal import Terminal


@dataclass(frozen=True)
class SearchTargets:
    """The networks and hosts to search. Without any, the networks of this computer are searched."""

    networks: Sequence[str] = ()
    hosts: Sequence[str] = ()
    port: int = scan_targets.SSH_PORT
    user: str = ""
    """The account for hosts that are written without one; empty: that of ~/.ssh/config."""
    sources: Sequence[str] = ()
    """Where the user has hosts already: see `noslop_driver.hosts.host_sources`."""
    mdns: bool | None = None
    """Whether machines of the networks are asked to announce themselves. None: where this computer can."""
    own_keys: bool = True
    """False if one private key was given for all hosts: then those of ~/.ssh/config are not used."""

    @property
    def named(self) -> bool:
        """Return whether networks or hosts were named."""
        return bool(self.networks or self.hosts)


class Discovery(Model):
    """The result of a discovery: machines, failures and their reasons."""

    candidates: list[Candidate]
    """One for each machine with an SSH server: those that the user named first, then by address."""
    others: list[Candidate]
    """Named hosts that did not answer with SSH, and machines of a network that have no SSH server."""
    tried: list[str]
    """The interfaces and ranges that were tried or left out, with counts, as lines of text."""
    heard: list[str]
    """Announcements by mDNS that led to no candidate, as lines of text."""
    counts: dict[str, int]
    """Number of addresses by status."""
    notes: list[str]
    problems: list[Problem]

    @classmethod
    def empty(cls) -> Discovery:
        """Return a discovery that tried nothing."""
        return cls(candidates=[], others=[], tried=[], heard=[], counts={}, notes=[], problems=[])


def search(targets: SearchTargets, terminal: Terminal) -> Discovery:
    """Search the networks and hosts that were named, or the networks of this computer, and print progress.

    A named host is the one that ssh connects to by that name. Behind a proxy, ssh itself asks for its key; no network
    is searched through one.

    Raises:
        UsageError: a network is too large, a name is unknown, or ssh cannot read its configuration.
        DriverError: this computer could not complete the scan.
    """
    listed = host_sources.list_hosts(targets.sources, targets.user)
    hosts = [ssh_config.resolve(host, targets.port, targets.user, own_keys=targets.own_keys) for host in targets.hosts]
    hosts += listed.hosts
    direct = [host for host in hosts if not host.ssh.proxy]
    behind = [host for host in hosts if host.ssh.proxy]
    plan = None
    if direct or targets.networks or not (behind or targets.sources):
        names = [host.target for host in direct]
        plan = plan_discovery(targets.networks, names, port=targets.port, announced=targets.mdns is not False)
    for line in [*(plan.describe() if plan else []), *map(_describe_proxy, behind)]:
        terminal.print(line)
    with terminal.out.status("Searching"):
        scanned = discover(plan, direct) if plan else Discovery.empty()
        result = _add_proxied(scanned, behind, proxied_host.probe_all(behind))
    missing = [mdns.MISSING_LIBRARY] if targets.mdns and not mdns.is_available() else []
    result = result.model_copy(update={"notes": [*listed.notes, *missing, *result.notes]})
    print_counts(result, terminal)
    return result


def print_counts(result: Discovery, terminal: Terminal) -> None:
    """Print what was announced and not contacted, the number of addresses of each status, and the notes."""
    for line in result.heard:
        terminal.print(line)
    counts = ", ".join(f"{count} {status}" for status, count in result.counts.items() if count)
    terminal.print(f"{len(result.candidates)} with an SSH server ({counts or 'nothing tried'})")
    for note in result.notes:
        terminal.warn(note)


def plan_discovery(
    networks: Sequence[str] = (),
    hosts: Sequence[str] = (),
    *,
    port: int = scan_targets.SSH_PORT,
    limits: scan_targets.Limits | None = None,
    surroundings: interfaces.LocalNetworks | None = None,
    announced: bool = False,
) -> scan_targets.ScanPlan:
    """Select the addresses to scan; `describe()` of the result lists them.

    Args:
        networks: networks or names of this computer's interfaces.
        hosts: names or addresses, each with `:port` if it differs from `port`.
        port: the SSH port of all others.
        limits: size and timing of the scan; None: the collection's defaults.
        surroundings: this computer's networks; None: read them.
        announced: whether machines of the networks are asked to announce themselves too, where this computer can.

    Raises:
        UsageError: a network is too large, or a name is unknown.
    """
    try:
        local = surroundings or interfaces.read_local_networks()
        listen = announced and mdns.is_available()
        return scan_targets.plan_scan(local, networks, hosts, port, limits, mdns=listen)
    except scan_targets.ScanTargetError as error:
        raise UsageError(str(error)) from error


def discover(plan: scan_targets.ScanPlan, hosts: Sequence[ResolvedHost] = ()) -> Discovery:
    """Scan the addresses of `plan_discovery`, each once.

    Args:
        plan: the addresses.
        hosts: the named ones among them, as ssh connects to them.

    Raises:
        DriverError: this computer could not complete the scan.
    """
    try:
        result = ssh_scan.scan(plan)
    except ssh_scan.ScanError as error:
        raise DriverError(str(error)) from error
    by_target = {(host.address, host.port): host for host in reversed(hosts)}
    candidates = [_make_candidate(machine, by_target) for machine in result.machines()]
    others = [_make_candidate(finding, by_target) for finding in result.findings if _is_worth_showing(finding)]
    problems = _list_problems(others)
    if not candidates and not problems and not any(other.origin for other in others):
        problems = [_explain_empty_result(result)]
    return Discovery(
        candidates=candidates,
        others=others,
        tried=plan.describe(),
        heard=list(result.heard),
        counts=result.counts,
        notes=list(result.notes),
        problems=problems,
    )


def format_target(address: str, port: int) -> str:
    """Return an address and a port in the form of the flag `--host`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def find_own_address(destination: str) -> str | None:
    """Return the address from which this computer reaches another one, or None if there is no route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((destination, 9))  # a datagram socket: nothing is sent
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _is_worth_showing(finding: ssh_scan.Finding) -> bool:
    absent = finding.status in (ssh_scan.TIMEOUT, ssh_scan.NO_ROUTE)
    return finding.status != ssh_scan.OPEN and (finding.named or not absent)


def _make_candidate(finding: ssh_scan.Finding, hosts: Mapping[tuple[str, int], ResolvedHost]) -> Candidate:
    host = hosts.get((finding.hostname or finding.address, finding.port))
    name = host.name if host and host.name != finding.address else finding.hostname
    candidate = Candidate(
        address=finding.address,
        port=finding.port,
        hostname=name or None,
        announced=finding.announced,
        banner=finding.banner or None,
        host_key=finding.fingerprint or None,
        host_keys=list(finding.keys),
        addresses=list(finding.addresses) or [finding.address],
        named=finding.named,
        status=finding.status,
        detail=finding.detail,
        todo=finding.todo,
    )
    if not host:
        return candidate
    changes = {"user": host.user, "ssh": host.ssh, "origin": host.origin, "named": not host.origin}
    return candidate.model_copy(update=changes)


def _list_problems(others: Sequence[Candidate]) -> list[Problem]:
    return [
        Problem(host=other.hostname or other.address, what=other.detail, todo=other.todo, kind=other.status)
        for other in others
        if other.named
    ]


def _describe_proxy(host: ResolvedHost) -> str:
    return f"{host.name} (named, {host.address} through {host.ssh.proxy}): asked by ssh"


def _add_proxied(discovery: Discovery, hosts: Sequence[ResolvedHost], candidates: Sequence[Candidate]) -> Discovery:
    """Return a discovery with the hosts behind proxies, which come after the others that were named."""
    if not hosts:
        return discovery
    answering = [candidate for candidate in candidates if candidate.status == "open"]
    silent = [candidate for candidate in candidates if candidate.status != "open"]
    counts = Counter(discovery.counts) + Counter(candidate.status for candidate in candidates)
    return discovery.model_copy(
        update={
            "candidates": sorted([*discovery.candidates, *answering], key=lambda candidate: not candidate.named),
            "others": [*discovery.others, *silent],
            "tried": [*discovery.tried, *map(_describe_proxy, hosts)],
            "counts": dict(counts),
            "problems": [*discovery.problems, *_list_problems(silent)],
        }
    )


def _explain_empty_result(result: ssh_scan.ScanResult) -> Problem:
    """Return why the search found no SSH server, and what to try next."""
    if not result.plan.targets:
        return Problem(
            kind="nothing_to_try",
            what="There was no address to search. " + "; ".join(result.plan.describe()[:-1]),
            todo="Name a network (--network 192.168.1.0/24) or the machines (--host render1 --host 192.168.1.20).",
        )
    todo = [
        "Name the machines (--host) or their network (--network) if they are elsewhere.",
        "Check that they are switched on and in the same network: guest and client-isolated Wi-Fi keep machines apart.",
    ]
    if result.counts.get(ssh_scan.CLOSED):
        todo.insert(0, "Install an SSH server on the machines that are there (Debian: apt install openssh-server).")
    if result.counts.get(ssh_scan.REFUSED):
        todo.insert(0, "Wait a minute and look at the log of the machines that accepted the connection and closed it.")
    return Problem(
        kind="nothing_found", what="No SSH server was found. " + "; ".join(result.describe()), todo=" ".join(todo)
    )
