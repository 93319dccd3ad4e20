# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse addresses and networks, and find the address of a host in its studio. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

#: The effect of an entry in noslop_allowed_networks.
OPEN_NETWORK = (
    "Whoever is in them can use ComfyUI and Ollama without a password, read what passes in clear text, and delete "
    "shared models."
)
#: Shortest prefix of an allowed network by IP version: the largest private network of IPv4 (RFC 1918), and the
#: allocation of a provider of IPv6 for all its customers.
SHORTEST_PREFIX = {4: 8, 6: 32}


def address_of(host: str, variables: Mapping[str, Any]) -> str:
    """Return the address of a host in the studio.

    ``noslop_address`` where it is set, else ``ansible_host`` when that is an address.

    Raises:
        ValueError: neither is an IP address.
    """
    for name in ("noslop_address", "ansible_host"):
        address = as_ip(variables.get(name))
        if address:
            return address
    raise ValueError(
        f"{host}: its address in the studio is not known. Set noslop_address for it to an IP address of this host."
    )


def parse_network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Parse an address or network; ``192.168.1.7/24`` becomes the network that it lies in.

    Raises:
        ValueError: it is none, or larger than the network of one organisation.
    """
    text = str(value).strip()
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no address and no network. Write it like 192.168.1.7 or 192.168.1.0/24."
        ) from error
    shortest = SHORTEST_PREFIX[network.version]
    if network.prefixlen < shortest:
        raise ValueError(
            f"{text} holds hosts all over the Internet. {OPEN_NETWORK} Write the network of the people who work with "
            f"the studio, like 192.168.1.0/24 or fd12:3456:789a::/48, with a prefix of /{shortest} or longer."
        )
    return network


def as_ip(value: object | None) -> str:
    """Return the canonical text of an IP address, or an empty string when ``value`` is none."""
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        return ""
