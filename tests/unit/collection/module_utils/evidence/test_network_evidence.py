# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the evidence of the network, from real sockets and from what programs print."""

from __future__ import annotations

import socket

from ansible_collections.noslop.studio.plugins.module_utils.evidence import network

RULESET = """\
table inet noslop_studio {
	chain input {
		type filter hook input priority -10; policy accept;
		tcp dport 2049 drop
	}
}
table inet filter {
	chain out {
		type filter hook output priority filter; policy accept;
		ip daddr 10.0.0.1 tcp dport 2049 counter packets 3 bytes 180 drop
		tcp dport 22 drop
	}
	chain in {
		type filter hook input priority filter; policy accept;
		tcp dport { 80, 8000-9000 } reject with icmp port-unreachable
		tcp dport 2049 accept
	}
}
"""


def test_rules_of_others_that_drop_a_port_are_evidence_with_their_hook() -> None:
    drops = network.find_drops(RULESET, {2049, 8188})
    assert [(drop["table"], drop["chain"], drop["hook"]) for drop in drops] == [
        ("inet filter", "out", "output"),
        ("inet filter", "in", "input"),
    ]
    assert drops[0]["rule"] == "ip daddr 10.0.0.1 tcp dport 2049 counter packets 3 bytes 180 drop"
    assert network.find_drops(RULESET, {11434}) == []


def test_rules_of_iptables_are_evidence_too() -> None:
    rules = "-P INPUT ACCEPT\n-A OUTPUT -p tcp -m tcp --dport 2049 -j DROP\n-A INPUT -p tcp --dport 22 -j DROP\n"
    rules += "-A INPUT -p tcp -m multiport --dports 80,8000:9000 -j REJECT\n"
    drops = network.find_legacy_drops(rules, {2049, 8188})
    assert [(drop["hook"], drop["rule"].split()[-1]) for drop in drops] == [("output", "DROP"), ("input", "REJECT")]


def test_lost_packets_are_counted() -> None:
    text = "10 packets transmitted, 7 received, 30% packet loss, time 1803ms"
    assert network.parse_ping(text) == (10, 7)
    assert network.parse_ping("5 packets transmitted, 0 packets received") == (5, 0)
    assert network.parse_ping("") == (0, 0)


def test_connection_is_open_or_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert network.connect("127.0.0.1", port) == "open"
    assert network.connect("127.0.0.1", port) == "refused"


def test_address_needs_no_name_service_and_a_wrong_name_has_an_error() -> None:
    assert network.resolve("10.0.0.1") == ("", "10.0.0.1")
    error, address = network.resolve("no-such-host.invalid")
    assert error
    assert address == ""
    assert network.read_way("no-such-host.invalid")["name_error"] == error


def test_process_that_has_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert network.read_ports({"ollama": port})["ollama"]["port"] == port
    assert network.read_ports({"ollama": port})["ollama"]["listeners"] == []
