# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test announcements with real packets between two network namespaces, which have no link to another network."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import mdns
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.announcements import Collection, Link
from hypothesis import given, settings
from hypothesis import strategies as st
from zeroconf._dns import DNSAddress, DNSPointer, DNSService
from zeroconf._protocol.incoming import DNSIncoming
from zeroconf._protocol.outgoing import DNSOutgoing

from noslop_driver.errors import ExitCode
from noslop_driver.hosts.discovery import Discovery
from tests.support.mdns_network import Network

ROOT = Path(__file__).parents[5]
A, PTR, SRV, IN = 1, 12, 33, 1
RESPONSE, TTL = 0x8400, 120
LAN = Link("lan0", (ipaddress.ip_network("10.66.0.0/24"),))


def describe(host: str, address: str, port: int, kind: str = "_ssh") -> dict[str, Any]:
    server = f"{host}.local."
    return {"type": f"{kind}._tcp.local.", "name": host, "server": server, "port": port, "addresses": [address]}


def pack(*records: DNSPointer | DNSService | DNSAddress) -> bytes:
    """Return an answer with these records."""
    message = DNSOutgoing(RESPONSE)
    for record in records:
        message.add_answer_at_time(record, 0)
    (packet,) = message.packets()
    return packet


def pack_server(host: str, address: str, port: int) -> bytes:
    """Return the announcement of an SSH server."""
    instance, server = f"{host}._ssh._tcp.local.", f"{host}.local."
    return pack(
        DNSPointer("_ssh._tcp.local.", PTR, IN, TTL, instance),
        DNSService(instance, SRV, IN, TTL, 0, 0, port, server),
        DNSAddress(server, A, IN, TTL, ipaddress.ip_address(address).packed),
    )


WHOLE = pack_server("render1", "10.66.0.5", 2222)


def search(network: Network, *words: str) -> Discovery:
    done = network.search("--json", *words)
    assert "Traceback" not in done.stderr
    assert done.returncode in (ExitCode.OK, ExitCode.UNREACHABLE), done.stderr
    shown = json.loads(done.stdout)
    return Discovery.model_validate({name: shown[name] for name in Discovery.model_fields})


def list_endpoints(result: Discovery) -> list[tuple[str, int, str]]:
    return [(candidate.address, candidate.port, candidate.announced) for candidate in result.candidates]


def test_server_on_another_port_is_listed_with_port_key_and_name(mdns_network: Network) -> None:
    key, _log = mdns_network.add_server("10.66.0.2", 2222)
    mdns_network.announce("10.66.0.2", describe("render1", "10.66.0.2", 2222))
    result = search(mdns_network, "--network", "10.66.0.0/28")
    assert list_endpoints(result) == [("10.66.0.2", 2222, "render1")]
    assert result.candidates[0].host_keys == [key]
    assert result.candidates[0].hostname is None
    assert not result.candidates[0].named
    assert "10.66.0.2" not in [other.address for other in result.others]
    assert "mDNS on lan0: machines that announce an SSH server" in result.tried


def test_without_mdns_nothing_is_asked(mdns_network: Network) -> None:
    mdns_network.add_server("10.66.0.2", 2222)
    mdns_network.announce("10.66.0.2", describe("render1", "10.66.0.2", 2222))
    result = search(mdns_network, "--network", "10.66.0.0/28", "--no-mdns")
    assert result.candidates == []
    assert result.heard == []
    assert not any("mDNS" in line for line in result.tried)
    assert [other.address for other in result.others if other.status == "closed"][1:] == [
        "10.66.0.2",
        "10.66.0.3",
        "10.66.0.4",
    ]


def test_machine_that_answers_the_scan_too_is_one_candidate(mdns_network: Network) -> None:
    mdns_network.add_server("10.66.0.2", 22)
    mdns_network.add_server("10.66.0.2", 2222)  # the same key: one machine that listens on both ports
    mdns_network.add_server("10.66.0.3", 22, "another key")
    mdns_network.announce(
        "10.66.0.2",
        describe("render1", "10.66.0.2", 22),
        describe("render1", "10.66.0.2", 2222, "_sftp-ssh"),
        describe("render2", "10.66.0.3", 9, "_workstation"),
    )
    result = search(mdns_network, "--network", "10.66.0.0/28")
    assert list_endpoints(result) == [("10.66.0.2", 22, "render1"), ("10.66.0.3", 22, "render2")]


def test_machine_of_an_ipv6_network_is_listed_that_the_scan_does_not_try(mdns_network: Network) -> None:
    mdns_network.add_addresses(["fd66::1/64"], ["fd66::2/64"])
    mdns_network.add_server("fd66::2", 22)
    mdns_network.machines.run("ip", "neighbour", "flush", "dev", "eth0")
    mdns_network.searcher.run("ip", "neighbour", "flush", "dev", "lan0")
    mdns_network.announce("10.66.0.2", describe("render1", "fd66::2", 22))
    result = search(mdns_network, "--network", "lan0")
    assert ("fd66::2", 22, "render1") in list_endpoints(result)


def test_address_outside_the_named_network_is_never_contacted(mdns_network: Network) -> None:
    mdns_network.add_addresses(["10.77.0.1/24"], ["10.77.0.9/24"])
    _key, log = mdns_network.add_server("10.77.0.9", 2222)
    mdns_network.announce("10.66.0.2", describe("victim", "10.77.0.9", 2222))
    result = search(mdns_network, "--network", "10.66.0.0/28")
    assert result.candidates == []
    assert result.heard == ["mDNS: 1 announced address outside the searched networks, not contacted"]
    assert "Connection" not in log.read_text(encoding="utf-8")


def test_announced_address_is_contacted_where_its_network_is_named(mdns_network: Network) -> None:
    mdns_network.add_addresses(["10.77.0.1/28"], ["10.77.0.9/28"])
    _key, log = mdns_network.add_server("10.77.0.9", 2222)
    mdns_network.announce("10.66.0.2", describe("render1", "10.77.0.9", 2222))
    assert list_endpoints(search(mdns_network, "--network", "10.77.0.0/28")) == [("10.77.0.9", 2222, "render1")]
    assert "Connection" in log.read_text(encoding="utf-8")


def test_control_characters_of_a_name_never_reach_the_terminal(mdns_network: Network) -> None:
    mdns_network.add_server("10.66.0.2", 2222)
    mdns_network.answer("10.66.0.2", {PTR: [pack_server("\x1b]0;owned\x07\x1b[2J\u202ered\nx", "10.66.0.2", 2222)]})
    done = mdns_network.search("--network", "10.66.0.0/28")
    assert done.returncode == 0, done.stderr
    assert not set("\x1b\x07\u202e") & set(done.stdout + done.stderr)
    assert "10.66.0.2:2222  ]0;owned[2Jredx (announced)" in done.stdout


def test_flood_of_names_is_bounded_and_hides_no_machine(mdns_network: Network) -> None:
    mdns_network.add_server("10.66.0.2", 2222)
    mdns_network.announce("10.66.0.2", describe("render1", "10.66.0.2", 2222))
    flood = [pack_server(f"fake{number}", f"10.66.0.{number % 14 + 1}", 1000 + number) for number in range(5000)]
    mdns_network.answer("10.66.0.4", {PTR: flood})
    result = search(mdns_network, "--network", "10.66.0.0/28")
    assert ("10.66.0.2", 2222, "render1") in list_endpoints(result)
    assert any(line.startswith("mDNS: more was announced than is read") for line in result.heard)


def test_hostile_datagrams_hide_no_machine(mdns_network: Network) -> None:
    mdns_network.add_server("10.66.0.2", 2222)
    mdns_network.announce("10.66.0.2", describe("render1", "10.66.0.2", 2222))
    header = bytes.fromhex("000084000000ffff00000000")
    hostile = [
        *(WHOLE[:length] for length in range(len(WHOLE))),
        b"\xff" * 9000,
        header + b"\xc0\x0c\x00\x0c\x00\x01",  # a name that is a pointer to itself
        header + (b"\x3f" + b"\xff" * 63) * 3 + b"\x3e" + b"\xff" * 62 + b"\x00" + bytes(64),  # a name of 255 bytes
        header + (b"\x3f" + b"\xff" * 63) * 4 + b"\x00" + bytes(64),  # and a longer one
        pack(DNSPointer("_ssh._tcp.local.", PTR, IN, TTL, "\ufffd" * 20 + "._ssh._tcp.local.")),
    ]
    mdns_network.answer("10.66.0.4", {PTR: hostile})
    result = search(mdns_network, "--network", "10.66.0.0/28")
    assert list_endpoints(result) == [("10.66.0.2", 2222, "render1")]
    assert result.notes == []


def test_host_and_addresses_that_an_answer_lacks_are_asked_for(mdns_network: Network) -> None:
    mdns_network.add_server("10.66.0.2", 2222)
    instance, server = "render1._ssh._tcp.local.", "render1.local."
    mdns_network.answer(
        "10.66.0.2",
        {
            PTR: [pack(DNSPointer("_ssh._tcp.local.", PTR, IN, TTL, instance))],
            SRV: [pack(DNSService(instance, SRV, IN, TTL, 0, 0, 2222, server))],
            A: [pack(DNSAddress(server, A, IN, TTL, bytes([10, 66, 0, 2])))],
        },
    )
    result = search(mdns_network, "--network", "10.66.0.0/28")
    assert list_endpoints(result) == [("10.66.0.2", 2222, "render1")]


def test_questions_are_one_for_each_service_and_each_missing_record() -> None:
    (packet,) = mdns.make_questions(("_ssh._tcp.local.",), ["a._ssh._tcp.local."], ["a.local."])
    asked = [(question.name, question.type) for question in DNSIncoming(packet).questions]
    assert asked == [("_ssh._tcp.local.", 12), ("a._ssh._tcp.local.", 33), ("a.local.", 1), ("a.local.", 28)]
    assert mdns.make_questions((), [], []) == []


def test_questions_about_names_that_cannot_be_asked_are_left_out() -> None:
    names = ["x" * 64 + "._ssh._tcp.local.", "\ufffd" * 30 + ".local.", ".".join(["y" * 60] * 5) + ".", "..local.", ""]
    assert mdns.make_questions((), names, names) == []
    many = [f"h{number}.local." for number in range(5000)]
    assert sum(len(DNSIncoming(packet).questions) for packet in mdns.make_questions((), [], many)) == 64


@given(st.binary(max_size=600), st.booleans())
def test_any_datagram_is_read_or_ignored(data: bytes, as_answer: bool) -> None:
    if as_answer:
        data = bytes.fromhex("00008400") + data
    mdns.add_records(Collection(), LAN, "10.66.0.66", data)


@settings(max_examples=2000)
@given(st.lists(st.tuples(st.integers(4, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_announcement_is_read_or_ignored(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(WHOLE)
    for place, byte in changes:
        damaged[place] = byte
    collection = Collection()
    mdns.add_records(collection, LAN, "10.66.0.66", bytes(damaged))
    for packet in mdns.make_questions((), *collection.list_missing(LAN)):
        assert DNSIncoming(packet).valid
    collection.select()


def test_withdrawn_announcement_is_ignored() -> None:
    collection = Collection()
    mdns.add_records(collection, LAN, "s", pack(DNSPointer("_ssh._tcp.local.", PTR, IN, 0, "a._ssh._tcp.local.")))
    assert collection.list_missing(LAN) == ([], [])


def test_interface_that_is_gone_is_a_note() -> None:
    announced, notes = asyncio.run(mdns.listen([Link("gone0", LAN.networks)], 5.0))
    assert announced.servers == ()
    assert notes == ("Announcements by mDNS on gone0 were not searched: no interface with this name.",)


WITHOUT_LIBRARY = """
import sys
sys.modules["zeroconf"] = None  # as where it is not installed
from noslop_driver.cli.main import main
main()
"""


@pytest.mark.parametrize(("words", "noted"), [((), False), (("--mdns",), True)])
def test_without_the_library_the_scan_works_and_a_note_is_for_who_asks(
    mdns_network: Network, words: tuple[str, ...], noted: bool
) -> None:
    mdns_network.add_server("10.66.0.2", 22)
    command = [
        *mdns_network.searcher.enter,
        sys.executable,
        "-c",
        WITHOUT_LIBRARY,
        "discover",
        "--network",
        "10.66.0.0/28",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"}
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "10.66.0.2" in done.stdout
    assert ("pip install zeroconf" in done.stdout + done.stderr) == noted
    assert ("mDNS" in done.stdout + done.stderr) == noted
