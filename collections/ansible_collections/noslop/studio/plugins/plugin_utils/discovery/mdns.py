# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the machines of a network by multicast DNS which of them announce an SSH server (RFC 6762, RFC 6763).

Sends questions to the group of multicast DNS on the interfaces of the searched networks, and reads the answers, which
go to that group too: a router forwards neither. Announces nothing, contacts no machine. The messages are read by the
library zeroconf; without it nothing is asked. Its own browser is not used: it reads every interface, and keeps whatever
is sent. What is read here has limits, so that a machine that sends without end delays nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.announcements import (
    SERVICES,
    Announced,
    Collection,
    Link,
)

PORT = 5353
_GROUPS = {4: "224.0.0.251", 6: "ff02::fb"}
#: linux/in.h and linux/in6.h, which Python has no names for: read only what this socket asked for.
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29

#: Parts of the time at which questions are sent. RFC 6762, section 5.2: the same one after a second at the earliest.
_STEPS = 4
_EVERY_SERVICE = (0, 2)
#: Bytes that are read, in all and of one sender, where a short datagram counts as half a kibibyte. To read all of them
#: takes less than a second of a processor.
TOTAL_BYTES = 4 * 1024 * 1024
SENDER_BYTES = 64 * 1024
_LEAST_BYTES = 512
#: Questions about what is missing, of one step. They fit into one packet or few.
_FOLLOW_UPS = 64
#: RFC 1035, section 2.3.4; of a name, without the length of its first label and the root.
_LABEL_BYTES, _NAME_BYTES = 63, 253
#: RFC 1035, section 3.2; RFC 3596; RFC 2782.
_A, _PTR, _AAAA, _SRV, _IN, _QUERY = 1, 12, 28, 33, 1, 0

MISSING_LIBRARY = (
    "Announcements by mDNS were not searched: the Python package zeroconf is not installed on this computer "
    "(Debian: apt install python3-zeroconf; in a virtual environment: pip install zeroconf)."
)


def is_available() -> bool:
    """Return whether the library that reads the messages is installed."""
    try:
        _load_library()
    except ImportError:
        return False
    return True


async def listen(links: Sequence[Link], seconds: float) -> tuple[Announced, tuple[str, ...]]:
    """Ask on each link, and read answers for this time.

    Args:
        links: the interfaces, and the networks whose addresses count there.
        seconds: time for all links together.

    Returns:
        The announcements, and a note for each interface that could not be used. Never raises for what is sent.
    """
    if not links or not is_available():
        return Announced(), ()
    collection = Collection()
    notes = []
    receivers: list[_Receiver] = []
    loop = asyncio.get_running_loop()
    budget = _Budget(collection)
    try:
        for link in links:
            for version in sorted({network.version for network in link.networks}):
                try:
                    opened = _open_socket(link.interface, version)
                except OSError as error:
                    reason = error.strerror or error
                    notes.append(f"Announcements by mDNS on {link.interface} were not searched: {reason}.")
                    continue
                receiver = _Receiver(link, version, budget)
                await loop.create_datagram_endpoint(lambda receiver=receiver: receiver, sock=opened)  # type: ignore[misc]
                receivers.append(receiver)
        for step in range(_STEPS if receivers else 0):
            for receiver in receivers:
                receiver.ask(step in _EVERY_SERVICE)
            await asyncio.sleep(seconds / _STEPS)
    finally:
        for receiver in receivers:
            receiver.close()
    return collection.select(), tuple(dict.fromkeys(notes))


class _Budget:
    """The bytes that are still read, for all receivers together."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self._read = 0
        self._by_sender: Counter[tuple[str, str]] = Counter()

    @property
    def exhausted(self) -> bool:
        """Return whether no further datagram is read."""
        return self._read >= TOTAL_BYTES

    def allow(self, link: Link, sender: str, length: int) -> bool:
        """Return whether one more datagram of this sender is read."""
        cost = max(length, _LEAST_BYTES)
        self._read += cost
        self._by_sender[link.interface, sender] += cost
        allowed = self._by_sender[link.interface, sender] <= SENDER_BYTES
        self.collection.overflow |= self.exhausted or not allowed
        return allowed


class _Receiver(asyncio.DatagramProtocol):
    """One socket: sends the questions of a link and puts the answers into the collection."""

    def __init__(self, link: Link, version: int, budget: _Budget) -> None:
        self._link = link
        self._group = (_GROUPS[version], PORT)
        self._budget = budget
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a datagram socket has this transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self._budget.exhausted:
            self.close()
            return
        sender = str(addr[0])
        if self._budget.allow(self._link, sender, len(data)):
            add_records(self._budget.collection, self._link, sender, data)

    def error_received(self, exc: Exception) -> None:
        """Ignore an error of sending: an interface that went down has no answers."""

    def ask(self, every_service: bool) -> None:
        """Send the questions for all services, and those for what the answers lacked so far."""
        if self._transport is None or self._transport.is_closing():
            return
        instances, hosts = self._budget.collection.list_missing(self._link)
        for packet in make_questions(SERVICES if every_service else (), instances, hosts):
            self._transport.sendto(packet, self._group)

    def close(self) -> None:
        if self._transport:
            self._transport.close()


def make_questions(services: Iterable[str], instances: Iterable[str], hosts: Iterable[str]) -> list[bytes]:
    """Return messages that ask for services, for the hosts of instances, and for the addresses of hosts."""
    zeroconf = _load_library()
    follow_ups = [(instance, _SRV) for instance in instances]
    follow_ups += [(host, kind) for host in hosts for kind in (_A, _AAAA)]
    message = zeroconf.DNSOutgoing(_QUERY)
    for name, kind in [*((service, _PTR) for service in services), *follow_ups[:_FOLLOW_UPS]]:
        labels = name.removesuffix(".").split(".")
        if len(name.encode()) <= _NAME_BYTES and all(0 < len(label.encode()) <= _LABEL_BYTES for label in labels):
            message.add_question(zeroconf.DNSQuestion(name, kind, _IN))
    return list(message.packets()) if message.questions else []


def add_records(collection: Collection, link: Link, sender: str, data: bytes) -> None:
    """Add the records of a datagram. One that is no answer, or is damaged, has none."""
    zeroconf = _load_library()
    message = zeroconf.DNSIncoming(data)
    if not message.valid or not message.is_response():
        return
    answers = message.answers  # a property in versions such as that of Debian 12
    for record in answers() if callable(answers) else answers:
        if not record.ttl:
            continue  # it is withdrawn (RFC 6762, section 10.1)
        if isinstance(record, zeroconf.DNSPointer):
            collection.add_instance(link, sender, record.alias)
        elif isinstance(record, zeroconf.DNSService):
            collection.add_server(link, sender, record.name, record.server, record.port)
        elif isinstance(record, zeroconf.DNSAddress):
            collection.add_address(link, sender, record.name, record.address)


def _load_library() -> Any:
    """Return the library, which is imported when it is used: it may be missing, and takes time."""
    return importlib.import_module("zeroconf")


def _open_socket(interface: str, version: int) -> socket.socket:
    """Return a socket that reads the group on one interface only, beside a daemon that has the port.

    Raises:
        OSError: the interface is gone, or another program has the port for itself.
    """
    index = socket.if_nametoindex(interface)
    opened = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        group = socket.inet_pton(opened.family, _GROUPS[version])
        if version == 4:
            membership = struct.pack("=4s4si", group, bytes(4), index)  # ip(7), struct ip_mreqn
            opened.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, membership)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
            opened.bind((_GROUPS[version], PORT))
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", index))
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            opened.bind((_GROUPS[version], PORT, 0, index))
    except OSError:
        opened.close()
        raise
    return opened
