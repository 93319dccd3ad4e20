# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the network interfaces and the neighbour table of this computer.

Sends no packet, changes nothing and needs no privilege. The tables come from iproute2 as JSON, or from
``/proc/net/arp`` where that program is missing.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NetworkOf = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Interfaces of containers, virtual machines and tunnels. Skipped unless named.
VIRTUAL_PREFIXES = ("docker", "br-", "veth", "virbr", "vnet", "cni", "podman", "lxcbr", "lxdbr", "flannel", "cali")
VPN_PREFIXES = ("tun", "utun", "wg", "ppp", "tailscale", "zt", "ipsec", "nordlynx", "proton")
VPN_KINDS = ("tun", "wireguard", "ppp", "ipip", "gre", "sit", "xfrm", "vti")

#: States of entries of the kernel's neighbour table that never answered.
_UNANSWERED = {"FAILED", "INCOMPLETE", "NOARP"}
#: Flag of /proc/net/arp: the entry is complete (linux/if_arp.h, ATF_COM).
_ATF_COM = 0x2


@dataclass(frozen=True)
class Interface:
    """One network interface of this computer.

    ``skip_reason`` is the reason why it is not scanned unless it is named; empty when it is scanned.
    """

    name: str
    networks: tuple[NetworkOf, ...]
    skip_reason: str = ""
    multicast: bool = False
    """True where it is up and can send to a multicast group."""


@dataclass(frozen=True)
class Neighbour:
    """An entry of the neighbour table. Link-local addresses include their zone."""

    address: str
    interface: str


@dataclass(frozen=True)
class LocalNetworks:
    """Interfaces and neighbour table. ``problem`` is the message when a table could not be read; empty otherwise."""

    interfaces: tuple[Interface, ...]
    neighbour_table: tuple[Neighbour, ...]
    problem: str = ""

    @property
    def names(self) -> list[str]:
        """Return the names of the interfaces, in the kernel's order."""
        return [interface.name for interface in self.interfaces]


def read_local_networks() -> LocalNetworks:
    """Read the tables of this computer. Never raises: ``problem`` reports what cannot be read."""
    program = _iproute2()
    if not program:
        arp = Path("/proc/net/arp")
        arp_entries = parse_arp(arp.read_text(encoding="ascii")) if arp.exists() else ()
        return LocalNetworks((), arp_entries, "The program `ip` (package iproute2) is not installed on this computer.")
    try:
        interfaces = parse_interfaces(_table([program, "-details", "-json", "address", "show"]))
        neighbour_table = parse_neighbour_table(_table([program, "-json", "neighbour", "show"]))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return LocalNetworks((), (), f"`{program}` could not list this computer's networks: {error}")
    return LocalNetworks(interfaces, neighbour_table)


def parse_interfaces(table: Sequence[dict[str, Any]]) -> tuple[Interface, ...]:
    """Parse the output of ``ip -details -json address show``."""
    interfaces = []
    for entry in table:
        if "ifname" not in entry:
            continue  # iproute2 prints an empty object for an entry that a filter removed
        networks = []
        for address in entry.get("addr_info", []):
            if "local" in address:
                network = ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
                if network not in networks:
                    networks.append(network)
        multicast = {"UP", "MULTICAST"} <= set(entry.get("flags", []))
        interfaces.append(Interface(entry["ifname"], tuple(networks), _skip_reason(entry), multicast))
    return tuple(interfaces)


def parse_neighbour_table(table: Sequence[dict[str, Any]]) -> tuple[Neighbour, ...]:
    """Parse the output of ``ip -json neighbour show``, without the addresses that never answered."""
    entries = []
    for entry in table:
        if "dst" not in entry or "lladdr" not in entry or _UNANSWERED.intersection(entry.get("state", [])):
            continue
        address = ipaddress.ip_address(entry["dst"])
        if address.is_multicast:
            continue
        zone = f"%{entry['dev']}" if address.version == 6 and address.is_link_local else ""
        entries.append(Neighbour(f"{address}{zone}", entry["dev"]))
    return tuple(entries)


def parse_arp(text: str) -> tuple[Neighbour, ...]:
    """Parse ``/proc/net/arp``: address, type, flags, hardware address, mask, interface."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return tuple(Neighbour(row[0], row[5]) for row in rows if len(row) == 6 and int(row[2], 16) & _ATF_COM)


def _skip_reason(entry: dict[str, Any]) -> str:
    name, flags = entry["ifname"], entry.get("flags", [])
    if "LOOPBACK" in flags:
        return "it is the loopback interface"
    if "UP" not in flags or "NO-CARRIER" in flags:
        return "it is down"
    kind = entry.get("linkinfo", {}).get("info_kind", "")
    if name.startswith(VPN_PREFIXES) or kind in VPN_KINDS or "POINTOPOINT" in flags:
        return "it is a tunnel or VPN"
    # By name, not by kind: inside a container the only network card may be a veth.
    if name.startswith(VIRTUAL_PREFIXES):
        return "it belongs to containers or virtual machines"
    return ""


def _iproute2() -> str:
    # Debian's ordinary users have no sbin on their PATH.
    return shutil.which("ip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin") or ""


def _table(command: list[str]) -> list[dict[str, Any]]:
    shown = subprocess.run(command, capture_output=True, check=True, text=True, timeout=10)
    table = json.loads(shown.stdout or "[]")
    return [entry for entry in table if isinstance(entry, dict)]
