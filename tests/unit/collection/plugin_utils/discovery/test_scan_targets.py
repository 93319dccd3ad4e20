# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the targets of a scan, and the parsers of iproute2's tables."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.interfaces import (
    LocalNetworks,
    Neighbour,
    parse_arp,
    parse_interfaces,
    parse_neighbour_table,
)
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import (
    Limits,
    ScanPlan,
    ScanTargetError,
    Target,
    parse_host,
    plan_scan,
)
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver.errors import UsageError
from noslop_driver.hosts import discovery


def link(name: str, *addresses: str, kind: str = "", flags: str = "BROADCAST UP LOWER_UP") -> dict[str, object]:
    """Return an entry of `ip -details -json address show`."""
    interfaces = [ipaddress.ip_interface(address) for address in addresses]
    return {
        "ifname": name,
        "flags": flags.split(),
        **({"linkinfo": {"info_kind": kind}} if kind else {}),
        "addr_info": [{"local": str(entry.ip), "prefixlen": entry.network.prefixlen} for entry in interfaces],
    }


HOME = LocalNetworks(
    parse_interfaces(
        [
            link("lo", "127.0.0.1/8", "::1/128", flags="LOOPBACK UP LOWER_UP"),
            link("eth0", "192.168.1.7/24", "fd00::7/64", "fe80::7/64"),
            {},
            link("eth1", "10.0.0.7/16"),
            link("wlan0", "192.168.1.8/24"),
            link("docker0", "172.17.0.1/16", kind="bridge"),
            link("wg0", "10.9.0.2/24", kind="wireguard", flags="POINTOPOINT NOARP UP LOWER_UP"),
        ]
    ),
    (
        Neighbour("192.168.1.20", "eth0"),
        Neighbour("10.0.9.9", "eth1"),
        Neighbour("fd00::20", "eth0"),
        Neighbour("fe80::20%eth0", "eth0"),
        Neighbour("172.17.0.2", "docker0"),
    ),
)


def addresses(plan: ScanPlan) -> list[str]:
    return [target.address for target in plan.targets]


def test_default_scan_covers_small_own_networks_and_the_neighbour_table() -> None:
    plan = plan_scan(HOME)
    assert plan.describe() == [
        "lo (own network): left out: it is the loopback interface; name it",
        "192.168.1.0/24 on eth0 (own network): 254 addresses",
        "known neighbours on eth0 (neighbour table): 2 addresses",
        "10.0.0.0/16 on eth1 (own network): left out: 65536 addresses, an automatic scan covers at most a /22; name a "
        "part of it, or the hosts",
        "known neighbours on eth1 (neighbour table): 1 address",
        "192.168.1.0/24 on wlan0 (own network): 0 addresses",
        "known neighbours on wlan0 (neighbour table): 0 addresses",
        "docker0 (own network): left out: it belongs to containers or virtual machines; name it",
        "wg0 (own network): left out: it is a tunnel or VPN; name it",
        "in all: 257 addresses",
    ]
    assert addresses(plan)[-3:] == ["fd00::20", "fe80::20%eth0", "10.0.9.9"]
    assert not any(target.named for target in plan.targets)


@pytest.mark.parametrize(
    ("name", "flags", "kind", "skip_reason"),
    [
        ("eth0", "UP LOWER_UP", "", False),
        ("enp3s0", "UP LOWER_UP", "", False),
        ("bridge0", "UP LOWER_UP", "bridge", False),
        ("eth0", "UP LOWER_UP", "veth", False),
        ("eth0", "BROADCAST", "", True),
        ("eth0", "UP NO-CARRIER", "", True),
        *((name, "UP LOWER_UP", "", True) for name in ("docker0", "br-1f2e", "veth12", "virbr0", "cni0", "podman1")),
        *((name, "UP LOWER_UP", "", True) for name in ("tun0", "wg0", "tailscale0", "ppp0")),
        ("office", "UP LOWER_UP", "wireguard", True),
        ("office", "UP POINTOPOINT", "", True),
    ],
)
def test_virtual_interfaces_are_skipped(name: str, flags: str, kind: str, skip_reason: bool) -> None:
    (interface,) = parse_interfaces([link(name, "192.168.1.7/24", kind=kind, flags=flags)])
    assert bool(interface.skip_reason) == skip_reason
    named = plan_scan(LocalNetworks((interface,), ()), [name])
    assert len(named.targets) == 254


def test_only_named_networks_are_scanned() -> None:
    assert addresses(plan_scan(HOME, ["192.168.9.4/30"])) == ["192.168.9.5", "192.168.9.6"]
    assert addresses(plan_scan(HOME, ["192.168.9.4"])) == ["192.168.9.4"]
    assert addresses(plan_scan(HOME, ["192.168.9.5/30"])) == ["192.168.9.5", "192.168.9.6"]


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_named_network_larger_than_a_20_is_refused(address: int, prefix: int) -> None:
    network = f"{ipaddress.ip_address(address)}/{prefix}"
    within = ipaddress.ip_interface(network).network
    if prefix < 20 or within.is_multicast or within.is_unspecified:
        with pytest.raises(ScanTargetError, match="Name"):
            plan_scan(HOME, [network])
    else:
        targets = addresses(plan_scan(HOME, [network]))
        assert len(targets) in (within.num_addresses, within.num_addresses - 2)
        assert all(ipaddress.ip_address(text) in within for text in targets)


def test_part_of_a_too_large_network_can_be_named() -> None:
    assert len(plan_scan(HOME, ["10.0.16.0/20"]).targets) == 4094
    with pytest.raises(UsageError, match=r"Name a part of it, like 10\.0\.0\.0/20"):
        discovery.plan_discovery(["eth1"], surroundings=HOME)


def test_ipv6_network_is_never_enumerated() -> None:
    assert addresses(plan_scan(HOME, ["fd00::/64"])) == ["fd00::20"]
    assert addresses(plan_scan(HOME, ["fe80::/10"])) == ["fe80::20%eth0"]
    assert addresses(plan_scan(HOME, ["2001:db8::/120"])) == []


def test_hosts_come_first_without_duplicates() -> None:
    plan = plan_scan(HOME, ["192.168.9.4/30"], ["192.168.9.6", "render1:2222", "192.168.9.6:2222"], port=22)
    assert plan.targets == (
        Target("192.168.9.6", 22, named=True),
        Target("render1", 2222, named=True, hostname="render1"),
        Target("192.168.9.6", 2222, named=True),
        Target("192.168.9.5", 22),
    )
    assert plan.describe() == [
        "named hosts (named): 3 addresses",
        "192.168.9.4/30 (named): 1 address",
        "in all: 4 addresses",
    ]


@pytest.mark.parametrize(
    ("text", "address", "port", "hostname"),
    [
        ("render1", "render1", 2200, "render1"),
        ("render1.example.org:22", "render1.example.org", 22, "render1.example.org"),
        ("10.0.0.5", "10.0.0.5", 2200, ""),
        ("10.0.0.5:22", "10.0.0.5", 22, ""),
        ("fd00:0::5", "fd00::5", 2200, ""),
        ("[fd00::5]:22", "fd00::5", 22, ""),
        ("[fe80::5%eth0]", "fe80::5%eth0", 2200, ""),
    ],
)
def test_hosts_are_parsed(text: str, address: str, port: int, hostname: str) -> None:
    assert parse_host(text, 2200) == Target(address, port, named=True, hostname=hostname)


@pytest.mark.parametrize(
    "text", ["", "a b", "artist@render1", "render1:ssh", "render1:0", "[fd00::5", "[::1]x", "10.0.0.0/24"]
)
def test_invalid_host_is_refused(text: str) -> None:
    with pytest.raises(ScanTargetError, match="Write"):
        parse_host(text)


@pytest.mark.parametrize("text", ["eth9", "10.0.0.0/33", "render1", "224.0.0.0/24"])
def test_invalid_network_is_refused(text: str) -> None:
    with pytest.raises(ScanTargetError, match=r"192\.168\.1\.0/24|holds no hosts"):
        plan_scan(HOME, [text])


def test_default_limits() -> None:
    limits = Limits()
    assert (limits.in_flight, limits.connect_s, limits.own_prefix, limits.named_prefix) == (128, 1.0, 22, 20)


def test_neighbour_entries_that_never_answered_are_skipped() -> None:
    table: list[dict[str, object]] = [
        {"dst": "192.168.1.20", "dev": "eth0", "lladdr": "02:00:00:00:00:01", "state": ["REACHABLE"]},
        {"dst": "192.168.1.21", "dev": "eth0", "lladdr": "02:00:00:00:00:02", "state": ["STALE"]},
        {"dst": "fe80::21", "dev": "eth0", "lladdr": "02:00:00:00:00:02", "router": None, "state": ["STALE"]},
        {"dst": "192.168.1.22", "dev": "eth0", "state": ["FAILED"]},
        {"dst": "192.168.1.23", "dev": "eth0", "state": ["INCOMPLETE"]},
        {"dst": "ff02::1", "dev": "eth0", "lladdr": "33:33:00:00:00:01", "state": ["NOARP"]},
    ]
    assert [neighbour.address for neighbour in parse_neighbour_table(table)] == [
        "192.168.1.20",
        "192.168.1.21",
        "fe80::21%eth0",
    ]


def test_arp_table_is_parsed() -> None:
    table = """IP address       HW type     Flags       HW address            Mask     Device
192.168.1.20     0x1         0x2         02:00:00:00:00:01     *        eth0
192.168.1.22     0x1         0x0         00:00:00:00:00:00     *        eth0
"""
    plan = plan_scan(LocalNetworks((), parse_arp(table), "no `ip` here"))
    assert addresses(plan) == ["192.168.1.20"]
    assert plan.describe()[0] == "no `ip` here"


def test_computer_without_networks_is_a_problem() -> None:
    nothing = discovery.discover(discovery.plan_discovery(surroundings=LocalNetworks((), (), "no `ip` here")))
    (problem,) = nothing.problems
    assert problem.kind == "nothing_to_try"
    assert "no `ip` here" in problem.what
    assert "--network" in problem.todo
