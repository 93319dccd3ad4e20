# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise faults between a client and the storage server, by comparing the clients with each other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import enumerate_words

from noslop_driver.diagnosis.case import Case, HostCase
from noslop_driver.diagnosis.cause import Cause, Layer, Remedy, Risk, Scope
from noslop_driver.diagnosis.evidence import Drop, Way

OPEN = "open"
#: Packets of a ping that must be lost before that counts.
LEAST_LOST = 2
_PLAIN = re.compile(r"[\w .,:/!-]*")
_STORAGE = ("storage.", "services.", "host.checks")


def find_network_causes(case: Case) -> Iterator[Cause]:
    """Yield why clients do not reach the storage server. Where the server's own unit is at fault, none."""
    ways = case.ways()
    failing = {name: way for name, way in ways.items() if way.name_error or way.nfs not in ("", OPEN)}
    if failing and len(failing) == len(ways) and len(ways) > 1:
        cause = _find_common_cause(case, failing)
        if cause:
            yield cause
        return
    for name, way in failing.items():
        if len(ways) == 1 and _is_server_silent(case):
            continue
        yield _find_own_cause(case, case.hosts[name], way, [other for other in ways if other not in failing])
    for name, way in ways.items():
        if name not in failing and 0 < way.received <= way.sent - LEAST_LOST:
            yield _make_loss(case, case.hosts[name], way)


def _is_server_silent(case: Case) -> bool:
    """Return whether the server itself does not serve, which other rules report: it is off, or its unit stopped."""
    evidence = case.server.evidence if case.server else None
    unit = evidence.units.get(studio.NFS_SERVER_UNIT) if evidence else None
    return evidence is None or (unit is not None and unit.active != "active")


def _find_common_cause(case: Case, failing: dict[str, Way]) -> Cause | None:
    """Return why no client reaches the server."""
    server = case.server
    named = [f"{name}: {way.name_error}" for name, way in failing.items() if way.name_error]
    if len(named) == len(failing):
        where = server.name if server else "the storage server"
        target = server.address if server else "its name"
        what = f"no client can look up the name {target} of the storage server"
        command = f"set noslop_address of {where} to its IP address in the inventory, then {case.deploy}"
        return Cause("network.name", where, Layer.NETWORK, what, named, Remedy(command), (Scope(None, _STORAGE),))
    if server is None or _is_server_silent(case):
        return None
    drops = (
        [drop for drop in server.evidence.firewall.drops if drop.hook == "input"]
        if (server.evidence and server.evidence.firewall)
        else []
    )
    evidence = [f"{name}: port {studio.NFS_PORT} {way.nfs}, SSH {way.ssh}" for name, way in failing.items()]
    if drops:
        what = f"a firewall rule of {server.name} drops what clients send to the storage"
        remedy = Remedy(_describe_rule(server.name, drops[0]), Risk.NONE)
        evidence += [_describe_drop(drop) for drop in drops]
    elif all(way.nfs == "refused" for way in failing.values()):
        what = f"{server.name} runs its NFS server, but refuses connections to port {studio.NFS_PORT}"
        remedy = Remedy(f"systemctl restart {studio.NFS_SERVER_UNIT}", Risk.RESTART, works_now=True)
    else:
        what = f"no client reaches port {studio.NFS_PORT} of {server.name}, which serves it"
        command = (
            f"nft list ruleset on {server.name}: see what drops port {studio.NFS_PORT}; then the switches and "
            "firewalls between it and the clients"
        )
        remedy = Remedy(command)
    return Cause("network.server", server.name, Layer.NETWORK, what, evidence, remedy, (Scope(None, _STORAGE),))


def _find_own_cause(case: Case, host: HostCase, way: Way, others: list[str]) -> Cause:
    """Return why one client does not reach a server that others reach."""
    server = case.server.name if case.server else "the storage server"
    address = case.server.address if case.server else "ADDRESS"
    compared = f"; {enumerate_words(others)} can" if others else ""
    evidence = [f"port {studio.NFS_PORT}: {way.nfs}, SSH: {way.ssh}{compared}", f"route: {way.route or 'none'}"]
    own = (
        Scope(frozenset({host.name}), ("storage.", "services.", "host.checks")),
        Scope(None, ("storage.shared",), mentions=host.name),
    )
    drops = (
        [drop for drop in host.evidence.firewall.drops if drop.hook == "output"]
        if (host.evidence and host.evidence.firewall)
        else []
    )
    if way.name_error:
        what = f"{host.name} cannot look up the name {address} of the storage server{compared}"
        command = f"getent hosts {address} on {host.name}: mend its DNS or /etc/hosts; an IP address needs neither"
        return Cause("network.name", host.name, Layer.NETWORK, what, [way.name_error], Remedy(command), own)
    if way.nfs == "unreachable" or not way.route:
        what = f"{host.name} has no route to {server} ({address}){compared}"
        command = (
            f"ip route get {address} on {host.name}; apply its configured routes with `systemctl restart "
            "systemd-networkd` (or networking, or NetworkManager)"
        )
        return Cause("network.route", host.name, Layer.NETWORK, what, evidence, Remedy(command, Risk.RESTART), own)
    if drops:
        what = f"a firewall rule of {host.name} drops what it sends to the storage server{compared}"
        evidence += [_describe_drop(drop) for drop in drops]
        remedy = Remedy(_describe_rule(host.name, drops[0]), Risk.NONE)
        return Cause("network.dropped", host.name, Layer.NETWORK, what, evidence, remedy, own)
    if way.nfs == "refused":
        what = f"{server} refuses {host.name}{compared}"
        command = f"nft list ruleset on {server}: see what rejects {host.address}"
    else:
        what = f"{host.name} does not reach {server}{compared}: the fault is on {host.name} or in between"
        command = (
            f"nft list ruleset on {host.name}, then the cable, switch and firewall between {host.name} and {server}"
        )
    return Cause("network.path", host.name, Layer.NETWORK, what, evidence, Remedy(command), own)


def _make_loss(case: Case, host: HostCase, way: Way) -> Cause:
    address = case.server.address if case.server else "ADDRESS"
    lost = way.sent - way.received
    what = f"{lost} of {way.sent} packets from {host.name} to the storage server are lost"
    command = (
        f"ip -s link on {host.name} counts errors: see its cable, its switch and `tc qdisc show`; then "
        f"`ping -c 100 {address}`"
    )
    scopes = (Scope(frozenset({host.name}), ("storage.slow", "storage.mounted", "storage.written", "services.")),)
    evidence = [f"ping: {way.received} of {way.sent} came back", f"route: {way.route}"]
    return Cause("network.loss", host.name, Layer.NETWORK, what, evidence, Remedy(command), scopes)


def find_foreign_rules(case: Case) -> Iterator[Cause]:
    """Yield rules of others that drop what comes to a host's services or, on the server, to its storage."""
    for host, evidence in case.answered():
        drops = [drop for drop in evidence.firewall.drops if drop.hook == "input"] if evidence.firewall else []
        peers = [check for check in case.failed if check["check"].endswith("_peers") and host.name in check["seen"]]
        if drops and peers:
            yield Cause(
                "firewall.foreign",
                host.name,
                Layer.FIREWALL,
                f"a firewall rule of {host.name}, not of NoSlop, drops what comes to its services",
                [_describe_drop(drop) for drop in drops],
                Remedy(_describe_rule(host.name, drops[0])),
                (
                    Scope(frozenset({host.name}), ("services.",)),
                    Scope(frozenset(c["host"] for c in peers), ("services.",)),
                ),
            )


def _describe_drop(drop: Drop) -> str:
    return f"{drop.table} {drop.chain}: {drop.rule}"


def _describe_rule(host: str, drop: Drop) -> str:
    """Return how a rule is removed. A host may return any text, so only plain words become a part of a command."""
    if not all(map(_PLAIN.fullmatch, (drop.table, drop.chain, drop.rule if drop.table == "iptables" else ""))):
        return f"on {host}: `nft -a list ruleset` shows the rule and its handle"
    if drop.table == "iptables":
        return f"on {host}: iptables {drop.rule.replace('-A', '-D', 1)}"
    chain = f"{drop.table} {drop.chain}"
    return f"on {host}: `nft -a list chain {chain}` shows the rule's handle; nft delete rule {chain} handle NUMBER"
