# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect what machines announce by multicast DNS, and select the addresses that may be contacted.

Pure: takes records, returns addresses, ports and names. Every machine of a network may announce anything, also in the
name of another one. So an address counts only where it is inside a searched network, each number has a limit, and a
name is text to be shown and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.interfaces import NetworkOf

#: Services of machines that may have an SSH server, and whether the announced port is that of SSH. That of a
#: workstation is the port `discard`, which stands for none.
SERVICES = {"_ssh._tcp.local.": True, "_sftp-ssh._tcp.local.": True, "_workstation._tcp.local.": False}

#: What is read of one sender. A machine with one SSH server announces three services of one host name.
SENDER_SERVICES = 64
SENDER_HOSTS = 64
HOST_ADDRESSES = 16
#: What is read in all: one more than this many senders are not a network that a scan covers.
SENDERS = 1024
#: What is contacted in all, and on one address: beside the addresses of the scan.
TARGETS = 256
ADDRESS_PORTS = 2
#: RFC 1035, section 2.3.4: the length of one label.
NAME_CHARACTERS = 63

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Link:
    """An interface on which announcements are asked for, and the networks whose addresses count there."""

    interface: str
    networks: tuple[NetworkOf, ...]


@dataclass(frozen=True)
class Announced:
    """The selected announcements: SSH servers as ``(address, port)``, and names by address.

    ``refused`` is the number of addresses that no searched network has. ``overflow`` is true where a limit was reached.
    """

    servers: tuple[tuple[str, int], ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    overflow: bool = False


@dataclass(frozen=True)
class _Server:
    host: str
    port: int
    name: str


class _Sender:
    """The records of one sender on one link."""

    def __init__(self, link: Link, address: str) -> None:
        self.link = link
        self.address = address.partition("%")[0]
        self.instances: dict[str, _Server | None] = {}
        self.addresses: dict[str, list[_Address]] = {}


class Collection:
    """The records of all senders, within the limits. Records of one sender never complete those of another."""

    def __init__(self) -> None:
        self.overflow = False
        self._senders: dict[tuple[str, str], _Sender] = {}

    def add_instance(self, link: Link, sender: str, instance: str) -> None:
        """Add the name of a service (a PTR record)."""
        if _find_service(instance):
            self._add_server(link, sender, instance.lower(), None)

    def add_server(self, link: Link, sender: str, instance: str, host: str, port: int) -> None:
        """Add the host and the port of a service (an SRV record)."""
        service = _find_service(instance)
        if service and 0 <= port <= 65535:
            server = _Server(host.lower(), port if SERVICES[service] else 0, clean_name(host))
            self._add_server(link, sender, instance.lower(), server)

    def add_address(self, link: Link, sender: str, host: str, packed: bytes) -> None:
        """Add an address of a host (an A or AAAA record), as 4 or 16 bytes."""
        records = self._get_sender(link, sender)
        if records is None or len(packed) not in (4, 16):
            return
        addresses = records.addresses.setdefault(host.lower(), [])
        address = ipaddress.ip_address(packed)
        if len(records.addresses) > SENDER_HOSTS:
            del records.addresses[host.lower()]
            self.overflow = True
        elif address not in addresses:
            addresses.append(address)
            self.overflow |= len(addresses) > HOST_ADDRESSES
            del addresses[HOST_ADDRESSES:]

    def list_missing(self, link: Link) -> tuple[list[str], list[str]]:
        """Return the services without a host, and the hosts without an address, which the senders of a link named."""
        instances: dict[str, None] = {}
        hosts: dict[str, None] = {}
        for records in self._senders.values():
            if records.link != link:
                continue
            for instance, server in records.instances.items():
                if server is None:
                    instances[instance] = None
                elif server.host not in records.addresses:
                    hosts[server.host] = None
        return list(instances), list(hosts)

    def select(self) -> Announced:
        """Return what may be contacted: what machines say of themselves first, so that no other one crowds it out."""
        servers: dict[tuple[str, int], None] = {}
        names: dict[str, str] = {}
        refused: set[_Address] = set()
        ports: dict[str, set[int]] = {}
        overflow = self.overflow
        entries = sorted(self._list_entries(), key=lambda entry: str(entry[1]) != entry[0].address)
        for sender, address, server in entries:
            if not _is_searched(address, sender.link.networks):
                refused.add(address)
                continue
            zone = f"%{sender.link.interface}" if address.version == 6 and address.is_link_local else ""
            text = f"{address}{zone}"
            if server.name:
                names.setdefault(text, server.name)
            if not server.port or (text, server.port) in servers:
                continue
            of_address = ports.setdefault(text, set())
            if len(servers) >= TARGETS or len(of_address) >= ADDRESS_PORTS:
                overflow = True
                continue
            of_address.add(server.port)
            servers[text, server.port] = None
        return Announced(tuple(servers), names, len(refused), overflow)

    def _list_entries(self) -> Iterator[tuple[_Sender, _Address, _Server]]:
        for sender in self._senders.values():
            for server in sender.instances.values():
                if server is not None:
                    for address in sender.addresses.get(server.host, ()):
                        yield sender, address, server

    def _add_server(self, link: Link, sender: str, instance: str, server: _Server | None) -> None:
        records = self._get_sender(link, sender)
        if records is None:
            return
        if instance not in records.instances and len(records.instances) >= SENDER_SERVICES:
            self.overflow = True
        elif server or instance not in records.instances:
            records.instances[instance] = server

    def _get_sender(self, link: Link, sender: str) -> _Sender | None:
        key = (link.interface, sender)
        if key not in self._senders and len(self._senders) >= SENDERS:
            self.overflow = True
            return None
        return self._senders.setdefault(key, _Sender(link, sender))


def make_links(
    interfaces: Sequence[tuple[str, Sequence[NetworkOf]]], searched: Sequence[NetworkOf]
) -> tuple[Link, ...]:
    """Return a link for each interface that is in a searched network.

    Args:
        interfaces: name and networks of each interface that can send to a multicast group.
        searched: the networks that a scan covers. Of a network that is larger or smaller than that of the interface,
            the common part counts: who announces something is in the network of the interface.
    """
    links = []
    for name, own in interfaces:
        common = [
            max(network, one, key=lambda either: either.prefixlen)
            for one in searched
            for network in own
            if network.version == one.version and network.overlaps(one)
        ]
        if common:
            links.append(Link(name, tuple(dict.fromkeys(common))))
    return tuple(links)


def clean_name(host: str) -> str:
    """Return the announced name of a host without ``.local``, to be shown: one line of at most 63 characters."""
    name = host.removesuffix(".").removesuffix(".local")
    return "".join(character for character in name if character.isprintable()).strip()[:NAME_CHARACTERS]


def _find_service(instance: str) -> str:
    """Return the service of an instance such as ``render1._ssh._tcp.local.``; empty for any other name."""
    name = instance.lower()
    return next((service for service in SERVICES if name.endswith(f".{service}")), "")


def _is_searched(address: _Address, networks: Sequence[NetworkOf]) -> bool:
    """Return whether a network has this address for a host: neither its own address nor that of all its hosts."""
    for network in networks:
        if address.version == network.version and address in network:
            ends = (network.network_address, network.broadcast_address)
            return network.prefixlen >= network.max_prefixlen - 1 or address not in ends
    return False
