# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the rules of a loaded nftables table for a packet, instead of comparing its text.

``nft --json list table`` describes the rules that are in force. This evaluates the part of them that the studio's
table uses, for a packet of a TCP connection from an address to a port (libnftables-json(5)).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

#: Documentation addresses (RFC 5737, RFC 3849): members of no studio.
NON_MEMBERS = ("192.0.2.77", "198.51.100.77", "203.0.113.77", "2001:db8::77")
#: TCP by its name, and by its number where a host has no /etc/protocols (Debian's package netbase).
TCP = frozenset({"tcp", 6})
_NO_EFFECT = frozenset({"counter", "log", "limit", "comment", "quota"})
_VERDICTS = frozenset({"accept", "drop", "reject", "return", "jump", "goto"})


class NotUnderstoodError(Exception):
    """The table contains an expression that this module does not evaluate."""


@dataclass(frozen=True)
class Packet:
    """A packet that another machine sends over a TCP connection which it began."""

    source: Address
    port: int
    #: Whether it is a later packet of the connection, not the first.
    established: bool = False


def non_member_address(networks: list[str], family: int) -> str:
    """Return a documentation address of this IP version in none of ``networks``; empty when all are in one."""
    parsed = [ipaddress.ip_network(network, strict=False) for network in networks]
    for text in NON_MEMBERS:
        address = ipaddress.ip_address(text)
        if address.version == family and not any(
            address.version == network.version and address in network for network in parsed
        ):
            return text
    return ""


class Table:
    """One table as ``nft --json list table`` gives it."""

    def __init__(self, listing: Mapping[str, Any]) -> None:
        self._chains: dict[str, dict[str, Any]] = {}
        self._rules: dict[str, list[list[dict[str, Any]]]] = {}
        self._sets: dict[str, list[Any]] = {}
        for entry in listing.get("nftables", []):
            if "chain" in entry:
                self._chains[entry["chain"]["name"]] = entry["chain"]
                self._rules.setdefault(entry["chain"]["name"], [])
            elif "set" in entry:
                self._sets[entry["set"]["name"]] = entry["set"].get("elem", [])
            elif "rule" in entry:
                self._rules.setdefault(entry["rule"]["chain"], []).append(entry["rule"]["expr"])

    def drops(self, source: str, port: int, *, established: bool = False) -> bool:
        """Return whether this table drops what ``source`` sends to TCP ``port`` of this host.

        Args:
            source: an IP address.
            port: the port of this host.
            established: whether the connection is open already; else its first packet is evaluated.

        Raises:
            NotUnderstoodError: a rule that the packet reaches contains an expression that is not evaluated.
        """
        packet = Packet(ipaddress.ip_address(source), port, established)
        hooks = ("prerouting", "input")
        bases = [chain for chain in self._chains.values() if chain.get("hook") in hooks]
        bases.sort(key=lambda chain: (hooks.index(chain["hook"]), int(chain.get("prio", 0))))
        return any((self._walk(chain["name"], packet) or chain.get("policy", "accept")) == "drop" for chain in bases)

    def _walk(self, chain: str, packet: Packet, depth: int = 0) -> str:
        """Return the verdict of a chain, empty when it returns the packet to its caller."""
        if depth > 16:
            raise NotUnderstoodError(f"chains that jump in circles, at {chain}")
        for expressions in self._rules.get(chain, []):
            verdict, target = self._apply(expressions, packet)
            if verdict in ("jump", "goto"):
                inner = self._walk(target, packet, depth + 1)
                if inner or verdict == "goto":
                    return inner
            elif verdict == "return":
                return ""
            elif verdict:
                return verdict
        return ""

    def _apply(self, expressions: list[dict[str, Any]], packet: Packet) -> tuple[str, str]:
        for expression in expressions:
            ((kind, body),) = expression.items()
            if kind == "match":
                if not self._matches(body, packet):
                    return "", ""
            elif kind in _VERDICTS:
                return ("drop" if kind == "reject" else kind), (body or {}).get("target", "")
            elif kind not in _NO_EFFECT:
                raise NotUnderstoodError(f"the expression {kind}")
        return "", ""

    def _matches(self, body: Mapping[str, Any], packet: Packet) -> bool:
        value = self._value(body["left"], packet)
        if value is None:  # a field of the other IP version: such a rule never matches
            return False
        inside = self._contains(body["right"], value)
        if body["op"] in ("==", "in"):
            return inside
        if body["op"] == "!=":
            return not inside
        raise NotUnderstoodError(f"the operator {body['op']}")

    @staticmethod
    def _value(left: Any, packet: Packet) -> Any:
        version = packet.source.version
        if isinstance(left, dict) and "payload" in left:
            protocol, name = left["payload"].get("protocol"), left["payload"].get("field")
            if (protocol, name) in (("tcp", "dport"), ("th", "dport")):
                return packet.port
            if name == "saddr":
                return packet.source if (protocol == "ip") == (version == 4) else None
            if protocol == "udp":
                return None
        if isinstance(left, dict) and "meta" in left:
            values = {
                "l4proto": TCP,
                "nfproto": f"ipv{version}",
                "protocol": "ip" if version == 4 else "ip6",
                "iif": "outside",
                "iifname": "outside",
                "iiftype": "ether",
            }
            if left["meta"]["key"] in values:
                return values[left["meta"]["key"]]
        if isinstance(left, dict) and "ct" in left:
            conntrack = {"state": "established" if packet.established else "new", "direction": "original"}
            if left["ct"]["key"] in conntrack:
                return conntrack[left["ct"]["key"]]
        if isinstance(left, dict) and left.get("fib", {}).get("result") == "type":
            return "local" if "daddr" in left["fib"].get("flags", []) else "unicast"
        raise NotUnderstoodError(f"a match on {left}")

    def _contains(self, right: Any, value: Any) -> bool:
        if isinstance(right, str) and right.startswith("@"):
            return any(self._contains(element, value) for element in self._sets.get(right[1:], []))
        if isinstance(right, list):
            return any(self._contains(element, value) for element in right)
        if isinstance(right, dict):
            return self._within(right, value)
        if isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
            return str(value) == str(right)
        return bool(right in value if isinstance(value, frozenset) else value == right)

    def _within(self, right: Mapping[str, Any], value: Any) -> bool:
        if "set" in right:
            return self._contains(right["set"], value)
        if "elem" in right:
            return self._contains(right["elem"]["val"], value)
        if "prefix" in right:
            network = ipaddress.ip_network(f"{right['prefix']['addr']}/{right['prefix']['len']}", strict=False)
            return value in network if value.version == network.version else False
        if "range" in right:
            low, high = right["range"]
            if isinstance(value, int):
                return int(low) <= value <= int(high)
            first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
            return first.version == value.version and int(first) <= int(value) <= int(last)
        raise NotUnderstoodError(f"the value {dict(right)}")


def judge_firewall(
    checks: Checks,
    listing: Mapping[str, Any] | None,
    *,
    member_ports: list[int],
    service_ports: list[int],
    members: list[str],
    allowed: list[str],
    smb_ports: Sequence[int] = (),
    smb_networks: Sequence[str] = (),
) -> None:
    """Check that the loaded table drops packets of non-members, and passes packets of members.

    Args:
        checks: where the results go.
        listing: the table as JSON, ``None`` when it is not loaded.
        member_ports: ports for members alone.
        service_ports: ports for members and the allowed networks.
        members: addresses of the studio's hosts.
        allowed: networks that may use the services.
        smb_ports: ports for members and the networks whose people use SMB.
        smb_networks: these networks.
    """
    again = f"run `systemctl reload-or-restart noslop-firewall` on {checks.host}, or deploy again"
    rules = [entry for entry in (listing or {}).get("nftables", []) if "rule" in entry]
    if not checks.add(
        "firewall.loaded",
        bool(rules),
        seen=f"{len(rules)} rules in the table" if listing else "no such table",
        expected="the table inet noslop_studio is loaded",
        todo=f"{again}, which starts what stopped with the firewall too",
    ):
        return
    table = Table(listing or {})
    ports = [*member_ports, *service_ports, *smb_ports]
    wrong: list[str] = []
    count = 0
    try:
        for port in ports:
            further = allowed if port in service_ports else smb_networks if port in smb_ports else []
            open_to = [*members, *further]
            others = [address for family in (4, 6) if (address := non_member_address(open_to, family))]
            count += 2 * len(others) + len(members)
            wrong += [f"lets {address} to port {port}" for address in others if not table.drops(address, port)]
            wrong += [
                f"leaves open connections of {address} to port {port} open"
                for address in others
                if not table.drops(address, port, established=True)
            ]
            wrong += [f"keeps the member {member} from port {port}" for member in members if table.drops(member, port)]
    except NotUnderstoodError as error:
        wrong.append(f"holds {error}, which NoSlop did not write")
    checks.add(
        "firewall.rules",
        not wrong,
        seen="; ".join(wrong) or f"{count} packets evaluated by the loaded rules: those of members pass, others do not",
        expected=f"members alone reach {enumerate_words(f'port {port}' for port in ports)}",
        todo=again,
    )
