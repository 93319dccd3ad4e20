# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the evaluation of a loaded table against nft's own listing."""

from __future__ import annotations

import copy
import ipaddress
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import nft_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks
from hypothesis import given
from hypothesis import strategies as st

ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
MEMBERS = ["10.77.42.11", "10.77.42.12", "10.77.42.13"]
ALLOWED = ["192.168.7.0/24", "10.77.42.1", "10.9.0.3", "2001:db8:7::/48"]


def match(left: dict[str, Any], right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def field(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


def rule(*expressions: dict[str, Any], chain: str = "input") -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": "noslop_studio", "chain": chain, "expr": list(expressions)}}


def addresses(name: str, kind: str, elements: list[Any]) -> dict[str, Any]:
    listing = {"family": "inet", "name": name, "table": "noslop_studio", "type": kind, "flags": ["interval"]}
    return {"set": {**listing, "elem": elements} if elements else listing}


SERVICES = match(field("th", "dport"), {"set": [8188, 11434]})
BASE = {"family": "inet", "table": "noslop_studio", "name": "input", "type": "filter", "hook": "input", "prio": -10}
#: As nft 1.0.6 lists the role's table: it merges adjacent addresses to a range, and lists empty sets without elements.
LISTING: dict[str, Any] = {
    "nftables": [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "inet", "name": "noslop_studio", "handle": 1}},
        addresses("members4", "ipv4_addr", [{"range": ["10.77.42.11", "10.77.42.13"]}]),
        addresses("members6", "ipv6_addr", []),
        addresses("allowed4", "ipv4_addr", ["10.9.0.3", "10.77.42.1", {"prefix": {"addr": "192.168.7.0", "len": 24}}]),
        addresses("allowed6", "ipv6_addr", [{"prefix": {"addr": "2001:db8:7::", "len": 48}}]),
        {"chain": {**BASE, "policy": "accept"}},
        rule(match({"meta": {"key": "iif"}}, "lo"), ACCEPT),
        rule(match({"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}, "!="), ACCEPT),
        rule(match(field("th", "dport"), {"set": [2049, 8188, 11434]}, "!="), ACCEPT),
        rule(
            match({"ct": {"key": "state"}}, "established", "in"), match({"ct": {"key": "direction"}}, "reply"), ACCEPT
        ),
        rule(match(field("ip", "saddr"), "@members4"), ACCEPT),
        rule(match(field("ip6", "saddr"), "@members6"), ACCEPT),
        rule(match(field("ip", "saddr"), "@allowed4"), SERVICES, ACCEPT),
        rule(match(field("ip6", "saddr"), "@allowed6"), SERVICES, ACCEPT),
        rule({"counter": {"packets": 0, "bytes": 0}}, DROP),
    ]
}


@pytest.mark.parametrize(
    ("source", "port", "dropped"),
    [
        ("10.77.42.12", 2049, False),
        ("10.77.42.14", 2049, True),
        ("192.168.7.9", 2049, True),
        ("192.168.7.9", 8188, False),
        ("10.77.42.1", 11434, False),
        ("10.9.0.4", 11434, True),
        ("2001:db8:7::5", 8188, False),
        ("2001:db8:8::5", 8188, True),
        ("203.0.113.77", 22, False),
    ],
)
def test_only_members_and_allowed_networks_may_connect(source: str, port: int, dropped: bool) -> None:
    assert nft_rules.Table(LISTING).drops(source, port) == dropped


@given(st.ip_addresses(), st.sampled_from([22, 80, 2049, 8188, 11434]))
def test_listing_matches_the_role_template(source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    member = str(source) in MEMBERS
    networks = [ipaddress.ip_network(network) for network in ALLOWED]
    allowed = port != 2049 and any(source.version == network.version and source in network for network in networks)

    expected = port in (2049, 8188, 11434) and not member and not allowed

    assert nft_rules.Table(LISTING).drops(str(source), port) == expected


def judged(listing: dict[str, Any] | None, **changes: list[str]) -> list[Check]:
    checks = Checks("worker1")
    values = {"members": MEMBERS, "allowed": ALLOWED, **changes}
    nft_rules.judge_firewall(
        checks,
        listing,
        member_ports=[2049],
        service_ports=[11434, 8188],
        members=values["members"],
        allowed=values["allowed"],
    )
    return checks.list


def test_loaded_role_table_passes() -> None:
    assert [check["check"] for check in judged(LISTING) if not check["ok"]] == []


def test_protocol_numbers_are_understood() -> None:
    listing = copy.deepcopy(LISTING)
    listing["nftables"][8]["rule"]["expr"][0]["match"]["right"] = {"set": [6, 17]}

    assert all(check["ok"] for check in judged(listing))


def test_missing_table_fails() -> None:
    (check,) = judged(None)

    assert (check["check"], check["ok"], check["seen"]) == ("firewall.loaded", False, "no such table")


def test_table_without_rules_fails() -> None:
    (check,) = judged({"nftables": LISTING["nftables"][:2]})

    assert check["seen"] == "0 rules in the table"


def test_missing_rule_is_reported_with_the_accepted_address() -> None:
    listing = {"nftables": LISTING["nftables"][:-1]}

    (_, rules) = judged(listing)

    assert not rules["ok"]
    assert "lets 192.0.2.77 to port 2049" in rules["seen"]
    assert "lets 2001:db8::77 to port 8188" in rules["seen"]


def test_open_connections_of_removed_members_must_end() -> None:
    listing = copy.deepcopy(LISTING)
    listing["nftables"][10] = rule(match({"ct": {"key": "state"}}, ["established", "related"], "in"), ACCEPT)

    (_, rules) = judged(listing)

    assert not rules["ok"]
    assert rules["seen"].startswith("leaves open connections of 192.0.2.77 to port 2049 open; ")
    assert "lets" not in rules["seen"]


def test_blocked_member_is_named() -> None:
    (_, rules) = judged(LISTING, members=[*MEMBERS, "10.77.42.14"])

    assert rules["seen"].count("keeps the member 10.77.42.14 from port") == 3


def test_networks_with_all_addresses_leave_no_non_member() -> None:
    everyone = ["0.0.0.0/0", "::/0"]
    listing = copy.deepcopy(LISTING)
    listing["nftables"][4]["set"]["elem"] = [{"prefix": {"addr": "0.0.0.0", "len": 0}}]
    listing["nftables"][5]["set"]["elem"] = [{"prefix": {"addr": "::", "len": 0}}]

    assert all(check["ok"] for check in judged(listing, allowed=everyone))
    assert not judged(listing)[1]["ok"]


def test_unknown_expression_fails() -> None:
    listing = copy.deepcopy(LISTING)
    listing["nftables"].insert(7, rule({"vmap": {}}))

    (_, rules) = judged(listing)

    assert (rules["ok"], rules["seen"]) == (False, "holds the expression vmap, which NoSlop did not write")


def test_jumps_are_evaluated() -> None:
    listing = {
        "nftables": [
            {"chain": {**BASE, "policy": "drop"}},
            {"chain": {"name": "members"}},
            rule({"jump": {"target": "members"}}),
            rule(match(field("ip", "saddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}}), ACCEPT, chain="members"),
            rule({"return": None}, chain="members"),
        ]
    }

    table = nft_rules.Table(listing)

    assert not table.drops("10.1.2.3", 2049)
    assert table.drops("192.0.2.1", 2049)
