# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.networks``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: networks
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the networks of one IP version, in the form in which firewalls read them
description:
  - Accepts addresses and networks of both IP versions, and returns those of one version, each once, in numerical order.
  - An address with a prefix length (C(192.168.1.7/24)) stands for the network it lies in. Values that are neither an
    address nor a network are refused, and so are networks with a prefix shorter than C(/8), or C(/32) for IPv6.
options:
  _input:
    description: Addresses and networks.
    type: list
    elements: str
    required: true
  version:
    description: IP version of the returned networks.
    type: int
    choices: [4, 6]
    required: true
positional: version
"""

EXAMPLES = r"""
- name: Show the IPv4 networks
  ansible.builtin.debug:
    msg: "{{ ['10.0.0.7', 'fd00::/64', '192.168.1.0/24'] | noslop.studio.networks(4) }}"
"""

RETURN = r"""
_value:
  description: Networks in canonical form; a single address without its prefix length.
  type: list
  elements: str
"""

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import parse_network


def networks(values: Sequence[str], version: int) -> list[str]:
    """Return the networks of one IP version among ``values``."""
    matching = set()
    for value in values:
        try:
            network = parse_network(value)
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error
        if network.version == version:
            matching.add(network)
    return [
        str(network.network_address) if network.num_addresses == 1 else str(network)
        for network in sorted(matching, key=lambda network: (int(network.network_address), network.prefixlen))
    ]


class FilterModule:
    """Filters for addresses and networks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"networks": networks}
