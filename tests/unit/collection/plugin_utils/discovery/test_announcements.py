# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which announcements are selected, by records of many senders."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import announcements
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.announcements import (
    Announced,
    Collection,
    Link,
    clean_name,
    make_links,
)
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.interfaces import Interface, LocalNetworks
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import plan_scan
from hypothesis import given
from hypothesis import strategies as st

LAN = Link("lan0", (ipaddress.ip_network("10.66.0.0/24"), ipaddress.ip_network("fd00::/64")))


def announce(
    collection: Collection,
    address: str,
    port: int = 2222,
    *,
    host: str = "render1",
    sender: str = "",
    kind: str = "_ssh",
) -> None:
    """Add one service as a machine announces it, by default of itself."""
    instance, server = f"{host}.{kind}._tcp.local.", f"{host}.local."
    sender = sender or address
    collection.add_instance(LAN, sender, instance)
    collection.add_server(LAN, sender, instance, server, port)
    collection.add_address(LAN, sender, server, ipaddress.ip_address(address).packed)


def select(*addresses: str) -> Announced:
    collection = Collection()
    for address in addresses:
        announce(collection, address)
    return collection.select()


def test_server_and_name_of_an_address_in_the_network_are_selected() -> None:
    assert select("10.66.0.5") == Announced((("10.66.0.5", 2222),), {"10.66.0.5": "render1"})
    assert select("fd00::5").servers == (("fd00::5", 2222),)


@pytest.mark.parametrize(
    "address",
    ["10.66.1.5", "10.66.0.0", "10.66.0.255", "8.8.8.8", "127.0.0.1", "224.0.0.251", "0.0.0.0", "fd00:0:0:1::5", "::1"],
)
def test_address_that_no_host_of_the_network_has_is_refused(address: str) -> None:
    assert select(address) == Announced(refused=1)


def test_link_local_address_has_the_zone_of_its_interface() -> None:
    link = Link("lan0", (ipaddress.ip_network("fe80::/64"),))
    collection = Collection()
    collection.add_server(link, "fe80::5%lan0", "a._ssh._tcp.local.", "a.local.", 22)
    collection.add_address(link, "fe80::5%lan0", "a.local.", ipaddress.ip_address("fe80::5").packed)
    assert collection.select().servers == (("fe80::5%lan0", 22),)


def test_port_of_a_workstation_is_not_that_of_ssh() -> None:
    collection = Collection()
    announce(collection, "10.66.0.5", 9, kind="_workstation")
    assert collection.select() == Announced((), {"10.66.0.5": "render1"})


def test_other_services_and_ports_are_ignored() -> None:
    collection = Collection()
    announce(collection, "10.66.0.5", 80, kind="_http")
    announce(collection, "10.66.0.6", 70000)
    assert collection.select() == Announced()


def test_sender_does_not_complete_the_records_of_another_one() -> None:
    collection = Collection()
    collection.add_server(LAN, "10.66.0.5", "render1._ssh._tcp.local.", "render1.local.", 2222)
    collection.add_address(LAN, "10.66.0.66", "render1.local.", bytes([10, 66, 0, 66]))
    assert collection.select() == Announced()


def test_what_is_missing_is_listed_until_it_is_there() -> None:
    collection = Collection()
    collection.add_instance(LAN, "10.66.0.5", "Render1._ssh._tcp.local.")
    assert collection.list_missing(LAN) == (["render1._ssh._tcp.local."], [])
    collection.add_server(LAN, "10.66.0.5", "render1._SSH._tcp.local.", "Render1.local.", 2222)
    assert collection.list_missing(LAN) == ([], ["render1.local."])
    assert collection.list_missing(Link("lan1", LAN.networks)) == ([], [])
    collection.add_address(LAN, "10.66.0.5", "RENDER1.local.", bytes([10, 66, 0, 5]))
    assert collection.list_missing(LAN) == ([], [])
    assert collection.select().servers == (("10.66.0.5", 2222),)


def test_name_that_a_machine_announces_of_itself_counts_before_that_of_others() -> None:
    collection = Collection()
    announce(collection, "10.66.0.5", host="forged", sender="10.66.0.66")
    announce(collection, "10.66.0.5", host="render1")
    assert collection.select().names == {"10.66.0.5": "render1"}


def test_few_ports_of_one_address_are_selected() -> None:
    collection = Collection()
    for port in range(1000, 1050):
        announce(collection, "10.66.0.5", port, host=f"a{port}", sender="10.66.0.66")
    announce(collection, "10.66.0.5", 2222)
    selected = collection.select()
    assert len(selected.servers) == announcements.ADDRESS_PORTS
    assert ("10.66.0.5", 2222) in selected.servers
    assert selected.overflow


def test_flood_of_one_sender_crowds_out_no_other_one() -> None:
    collection = Collection()
    for number in range(5000):
        announce(collection, f"10.66.0.{number % 250 + 1}", 1000 + number, host=f"h{number}", sender="10.66.0.66")
    announce(collection, "10.66.0.5", 2222)
    selected = collection.select()
    assert selected.overflow
    assert len(selected.servers) <= announcements.SENDER_SERVICES + 1
    assert ("10.66.0.5", 2222) in selected.servers


def test_flood_of_many_senders_has_a_limit() -> None:
    collection = Collection()
    for number in range(announcements.SENDERS * 2):
        announce(collection, f"10.66.0.{number % 250 + 1}", number % 250 + 1, host=f"h{number}", sender=f"s{number}")
    selected = collection.select()
    assert len(selected.servers) == 250
    assert selected.overflow
    more = Collection()
    wide = Link("lan0", (ipaddress.ip_network("10.66.0.0/20"),))
    for number in range(1000):
        address = f"10.66.{number // 250}.{number % 250 + 1}"
        more.add_server(wide, address, "a._ssh._tcp.local.", "a.local.", 2222)
        more.add_address(wide, address, "a.local.", ipaddress.ip_address(address).packed)
    assert len(more.select().servers) == announcements.TARGETS
    assert more.select().overflow


def test_addresses_and_hosts_of_one_sender_have_a_limit() -> None:
    collection = Collection()
    for host in range(200):
        for last in range(30):
            collection.add_address(LAN, "s", f"h{host}.local.", bytes([10, 66, 0, last + 1]))
        collection.add_server(LAN, "s", f"h{host}._ssh._tcp.local.", f"h{host}.local.", 22)
    selected = collection.select()
    assert selected.overflow
    assert len(selected.servers) == announcements.HOST_ADDRESSES


@given(st.text(max_size=300))
def test_name_is_one_short_line_without_control_characters(text: str) -> None:
    name = clean_name(text)
    assert len(name) <= announcements.NAME_CHARACTERS
    assert name.isprintable()


def test_name_has_no_domain_and_no_escape_sequence() -> None:
    assert clean_name("render1.local.") == "render1"
    assert clean_name("\x1b]0;owned\x07ren\u202eder\n1.local.") == "]0;ownedrender1"


def test_links_have_what_is_common_to_interface_and_searched_networks() -> None:
    def networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        return tuple(ipaddress.ip_network(text) for text in texts)

    interfaces = [("lan0", networks("10.66.0.0/24", "fd00::/64")), ("lan1", networks("10.77.0.0/16"))]
    assert make_links(interfaces, networks("10.66.0.0/20", "10.66.0.16/28")) == (
        Link("lan0", networks("10.66.0.0/24", "10.66.0.16/28")),
    )
    assert make_links(interfaces, networks("::/0")) == (Link("lan0", networks("fd00::/64")),)
    assert make_links(interfaces, networks("192.168.1.0/24")) == ()


def test_only_interfaces_with_multicast_in_the_searched_networks_are_asked() -> None:
    lan, office = ipaddress.ip_network("10.66.0.0/24"), ipaddress.ip_network("10.88.0.0/24")
    local = LocalNetworks(
        (
            Interface("lan0", (lan, ipaddress.ip_network("10.77.0.0/16")), multicast=True),
            Interface("lan1", (office,)),
            Interface("docker0", (ipaddress.ip_network("172.17.0.0/24"),), "it belongs to containers", multicast=True),
        ),
        (),
    )
    assert plan_scan(local).links == ()
    assert plan_scan(local, mdns=True).links == (Link("lan0", (lan,)),)
    assert plan_scan(local, hosts=["10.66.0.5"], mdns=True).links == ()
    assert plan_scan(local, ["10.88.0.0/24"], mdns=True).links == ()
    assert [link.interface for link in plan_scan(local, ["docker0"], mdns=True).links] == ["docker0"]
    assert "mDNS on lan0: machines that announce an SSH server" in plan_scan(local, mdns=True).describe()
