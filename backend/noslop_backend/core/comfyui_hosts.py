# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the names and addresses of the studio's ComfyUI hosts, as the deployment writes them. Pure.

Addresses only, no host names: a name server decides where a name leads, and that changes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

PORT = 8188
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
_WHERE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)


@dataclass(frozen=True)
class ComfyHost:
    """A host of the studio on which ComfyUI answers. `address` is an IP address in its usual form."""

    name: str
    address: str
    port: int

    def __str__(self) -> str:
        where = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.name} ({where}:{self.port})"


def parse(text: str) -> dict[str, ComfyHost]:
    """Read `name=address[:port],...`, with IPv6 addresses in brackets. Without a port it is 8188.

    Raises:
        ValueError: it is not that, or a name comes twice; says what is wrong and what would be right.
    """
    hosts: dict[str, ComfyHost] = {}
    for item in filter(None, (one.strip() for one in text.split(","))):
        name, given, where = (part.strip() for part in item.partition("="))
        place = _WHERE.fullmatch(where)
        if not given or not NAME.fullmatch(name) or place is None:
            raise ValueError(
                f"{item!r} is no host: write NAME=ADDRESS:PORT, as in render1=10.0.0.7:8188,render2=[fd00::7]:8188, "
                "with IP addresses: a name may lead elsewhere tomorrow"
            )
        if name in hosts:
            raise ValueError(f"{name!r} comes twice: give each host one address")
        hosts[name] = ComfyHost(name, _address(place["six"] or place["four"]), _port(place["port"]))
    return hosts


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f"{text} is no IP address: {error}") from error
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text} is not the address of a host: name the one at which the host's ComfyUI answers")
    return str(address)


def _port(text: str | None) -> int:
    port = PORT if text is None else int(text)
    if not 0 < port < 65536:
        raise ValueError(f"{text} is no port: it is 1 to 65535")
    return port
