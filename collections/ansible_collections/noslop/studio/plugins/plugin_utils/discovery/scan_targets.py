# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which addresses a scan for SSH servers tries, before it starts.

Pure: the named networks and hosts and this computer's own networks become a list of targets, and of ranges with their
counts for the user to read. Without names, a scan covers the small networks that this computer is in; a named network
may be larger, up to a limit.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.announcements import Link, make_links
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.interfaces import (
    Interface,
    LocalNetworks,
    NetworkOf,
)

SSH_PORT = 22


class ScanTargetError(ValueError):
    """The requested targets are refused. The message contains the reason and an alternative."""


@dataclass(frozen=True)
class Limits:
    """The limits of one scan.

    A /24 without any answer takes 2 s with these numbers, a /20 half a minute. The prefixes keep a large scan from
    filling the kernel's neighbour table, which has 1024 entries by default (arp(7), gc_thresh3).
    """

    in_flight: int = 128
    connect_s: float = 1.0
    #: For an accepted connection: a busy machine needs longer for its first line than for the connection.
    greeting_s: float = 5.0
    own_prefix: int = 22
    named_prefix: int = 20
    #: For announcements by multicast DNS, beside the scan: two questions with a second between them, and their answers.
    listen_s: float = 2.0


@dataclass(frozen=True)
class Target:
    """One address, or a name that has to be resolved first; ``named`` is true where the user named it."""

    address: str
    port: int
    named: bool = False
    hostname: str = ""


@dataclass(frozen=True)
class Range:
    """A group of addresses, for the summary.

    ``skip_reason`` is the reason why none of them is tried; empty when they are. ``count`` is the number of its targets
    that are in no earlier range.
    """

    what: str
    interface: str
    origin: str
    count: int = 0
    skip_reason: str = ""


@dataclass(frozen=True)
class ScanPlan:
    """The targets of a scan, in order."""

    ranges: tuple[Range, ...]
    targets: tuple[Target, ...]
    limits: Limits = field(default_factory=Limits)
    #: The message when this computer's networks could not be read; empty otherwise.
    problem: str = ""
    #: Where machines are asked to announce themselves.
    links: tuple[Link, ...] = ()

    def describe(self) -> list[str]:
        """Return one line for each range, and their sum."""
        lines = []
        for part in self.ranges:
            where = f" on {part.interface}" if part.interface not in ("", part.what) else ""
            tried = f"left out: {part.skip_reason}" if part.skip_reason else _addresses(part.count)
            lines.append(f"{part.what}{where} ({part.origin}): {tried}")
        lines += [f"mDNS on {link.interface}: machines that announce an SSH server" for link in self.links]
        problem = [self.problem] if self.problem else []
        return [*problem, *lines, f"in all: {_addresses(len(self.targets))}"]


def plan_scan(
    local_networks: LocalNetworks,
    networks: Sequence[str] = (),
    hosts: Sequence[str] = (),
    port: int = SSH_PORT,
    limits: Limits | None = None,
    *,
    mdns: bool = False,
) -> ScanPlan:
    """Decide which targets to try.

    Args:
        local_networks: this computer's interfaces and neighbours.
        networks: networks (``192.168.1.0/24``) or names of this computer's interfaces. Of an IPv6 network, only
            addresses in the neighbour table are tried.
        hosts: names or addresses, each with its port if it has one of its own (``render1:2222``, ``[fd00::7]:22``).
        port: the port of all other addresses.
        limits: the limits of the scan.
        mdns: whether machines of the networks are asked to announce themselves, on interfaces with multicast.

    Returns:
        Hosts first, then networks. With neither: the networks that this computer is in, and its neighbours.

    Raises:
        ScanTargetError: a network is too large, or a name is invalid.
    """
    builder = _Builder(local_networks, port, limits or Limits())
    if hosts:
        builder.add("named hosts", "", "named", [parse_host(host, port) for host in hosts])
    for network in networks:
        builder.add_named(network.strip())
    if not hosts and not networks:
        builder.add_own()
    problem = local_networks.problem if networks or not hosts else ""
    able = [(one.name, one.networks) for one in local_networks.interfaces if one.multicast]
    links = make_links(able, builder.networks) if mdns else ()
    return ScanPlan(tuple(builder.ranges), tuple(builder.targets.values()), builder.limits, problem, links)


def parse_host(text: str, port: int = SSH_PORT) -> Target:
    """Parse ``name``, ``name:port``, an address, or ``[IPv6 address]:port``.

    Raises:
        ScanTargetError: it is none of these.
    """
    host, own_port = text.strip(), str(port)
    if host.startswith("["):
        host, closed, rest = host[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ScanTargetError(f"{text!r} is no host. Write an IPv6 address with a port like [fd00::7]:22.")
        own_port = rest[1:] if rest else own_port
    elif host.count(":") == 1:
        host, _colon, own_port = host.partition(":")
    if not own_port.isdigit() or not 1 <= int(own_port) <= 65535:
        raise ScanTargetError(f"{text!r}: {own_port!r} is no port. Write a number from 1 to 65535.")
    if not host or set(host) & set(" \t/@,"):
        raise ScanTargetError(f"{text!r} is no host. Write a name or an address, with :port if it is not {port}.")
    address = _as_address(host)
    return Target(address or host, int(own_port), named=True, hostname="" if address else host)


class _Builder:
    """The ranges, and the targets without duplicates."""

    def __init__(self, local_networks: LocalNetworks, port: int, limits: Limits) -> None:
        self.local_networks = local_networks
        self.port = port
        self.limits = limits
        self.ranges: list[Range] = []
        self.targets: dict[tuple[str, int], Target] = {}
        self.networks: list[NetworkOf] = []
        """The networks that are searched as a whole."""

    def add(self, what: str, interface: str, origin: str, targets: Iterable[Target]) -> None:
        before = len(self.targets)
        for target in targets:
            self.targets.setdefault((target.address, target.port), target)
        self.ranges.append(Range(what, interface, origin, len(self.targets) - before))

    def skip(self, what: str, interface: str, origin: str, why: str) -> None:
        self.ranges.append(Range(what, interface, origin, skip_reason=why))

    def add_named(self, name: str) -> None:
        interface = next((candidate for candidate in self.local_networks.interfaces if candidate.name == name), None)
        if interface:
            for network in interface.networks:
                self.add_named_network(network, interface.name)
            if not interface.networks:
                self.skip(interface.name, interface.name, "named", "it has no address")
            return
        try:
            network = ipaddress.ip_network(name, strict=False)
        except ValueError as error:
            candidate = ", ".join(self.local_networks.names) or "none known"
            raise ScanTargetError(
                f"{name!r} is no network and no interface of this computer ({candidate}). Write it like 192.168.1.0/24."
            ) from error
        if network.is_multicast or network.is_unspecified:
            raise ScanTargetError(f"{network} holds no hosts. Name the network that the machines are in.")
        self.add_named_network(network, "")

    def add_named_network(self, network: NetworkOf, interface: str) -> None:
        if network.version == 6:
            self.networks.append(network)
            self.add_neighbour_addresses(str(network), interface, "named, its known neighbours", within=network)
            return
        if network.prefixlen < self.limits.named_prefix:
            first = ipaddress.ip_network(f"{network.network_address}/{self.limits.named_prefix}")
            raise ScanTargetError(
                f"{network} has {network.num_addresses} addresses; a scan covers at most a "
                f"/{self.limits.named_prefix} ({first.num_addresses}). Name a part of it, like {first}, "
                "or name the hosts."
            )
        self.networks.append(network)
        self.add(str(network), interface, "named", self._every(network))

    def add_own(self) -> None:
        for interface in self.local_networks.interfaces:
            if interface.skip_reason:
                if interface.networks:
                    self.skip(interface.name, interface.name, "own network", f"{interface.skip_reason}; name it")
                continue
            for network in interface.networks:
                if network.version == 4 and network.prefixlen < 32:
                    self._add_own_network(network, interface)
            self.add_neighbour_addresses("known neighbours", interface.name, "neighbour table")
        if not self.local_networks.interfaces:
            self.add_neighbour_addresses("known neighbours", "", "neighbour table")

    def _add_own_network(self, network: NetworkOf, interface: Interface) -> None:
        if network.prefixlen < self.limits.own_prefix:
            why = (
                f"{network.num_addresses} addresses, an automatic scan covers at most a /{self.limits.own_prefix}; "
                "name a part of it, or the hosts"
            )
            self.skip(str(network), interface.name, "own network", why)
            return
        self.networks.append(network)
        self.add(str(network), interface.name, "own network", self._every(network))

    def add_neighbour_addresses(self, what: str, interface: str, origin: str, within: NetworkOf | None = None) -> None:
        addresses = [
            neighbour.address
            for neighbour in self.local_networks.neighbour_table
            if (not interface or neighbour.interface == interface)
            and (within is None or ipaddress.ip_address(neighbour.address.partition("%")[0]) in within)
        ]
        self.add(what, interface, origin, [Target(address, self.port) for address in addresses])

    def _every(self, network: NetworkOf) -> Iterable[Target]:
        return (Target(str(address), self.port) for address in network.hosts())


def _as_address(host: str) -> str:
    """Return the canonical text of an address with its zone; empty when ``host`` is none."""
    bare, percent, zone = host.partition("%")
    try:
        return str(ipaddress.ip_address(bare)) + percent + zone
    except ValueError:
        return ""


def _addresses(count: int) -> str:
    return f"{count} address" if count == 1 else f"{count} addresses"
