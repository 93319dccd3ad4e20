# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parsers of the output of systemd and nft."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.noslop.studio.plugins.filter import networks
from ansible_collections.noslop.studio.plugins.module_utils.host import systemd
from ansible_collections.noslop.studio.plugins.modules import nft_table
from hypothesis import given
from hypothesis import strategies as st

# systemd 252: one block for each unit, in the requested order, properties in an order of its own.
SHOWN = """\
Result=success
LoadState=loaded
ActiveState=active
UnitFileState=static
NeedDaemonReload=yes

Result=success
LoadState=not-found
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no
"""
CHAINS = """{"nftables": [{"metainfo": {"version": "1.0.6"}},
 {"chain": {"family": "inet", "table": "noslop_studio", "name": "input", "hook": "input", "policy": "drop"}},
 {"chain": {"family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": "drop"}},
 {"chain": {"family": "inet", "table": "filter", "name": "forward", "hook": "forward", "policy": "drop"}},
 {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "accept"}},
 {"chain": {"family": "ip", "table": "filter", "name": "own"}}]}"""


def test_units_are_parsed_in_the_requested_order() -> None:
    units = systemd.parse_show(["a.mount", "nothing.service"], SHOWN)

    assert units["a.mount"] == systemd.Unit("a.mount", "loaded", "active", "static", True, "success")
    assert units["a.mount"].is_active
    assert units["nothing.service"].load == "not-found"
    assert not units["nothing.service"].is_active


def test_foreign_dropping_chain_is_named() -> None:
    assert nft_table.dropping_chains(CHAINS, ["inet", "noslop_studio"]) == ["inet filter input"]


def test_empty_ruleset_is_no_foreign_firewall() -> None:
    assert nft_table.dropping_chains("", ["inet", "noslop_studio"]) == []


def test_networks_are_canonical_and_of_one_version() -> None:
    values = ["10.0.0.7", "192.168.1.7/24", "fd00::/64", "10.0.0.7/32", "FD00::0:1"]

    assert networks.networks(values, 4) == ["10.0.0.7", "192.168.1.0/24"]
    assert networks.networks(values, 6) == ["fd00::/64", "fd00::1"]


@pytest.mark.parametrize("value", ["worker1", "10.0.0.300", "10.0.0.0/33", "", "*"])
def test_invalid_network_is_named(value: str) -> None:
    with pytest.raises(AnsibleFilterError, match="no address and no network"):
        networks.networks(["10.0.0.1", value], 4)


@given(st.lists(st.ip_addresses(v=4)))
def test_each_network_is_returned_once(addresses: list[object]) -> None:
    result = networks.networks([str(address) for address in addresses], 4)

    assert len(result) == len(set(result))
    assert set(result) == {str(address) for address in addresses}
