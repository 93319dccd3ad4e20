# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the listening sockets of a host and their processes in ``/proc``, without any program."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

#: proc_pid_net(5): the state of a listening TCP socket, and that of a UDP socket without a peer.
_STATES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


@dataclass(frozen=True)
class Listener:
    """One socket that accepts connections or datagrams."""

    protocol: str
    address: str
    port: int
    inode: str

    @property
    def is_loopback(self) -> bool:
        """Return whether only this host can reach it."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        """Return a phrase for messages."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol} {address}:{self.port}"


@dataclass(frozen=True)
class Program:
    """The process that has a socket open."""

    pid: int
    name: str

    def __str__(self) -> str:
        """Return a phrase for messages."""
        return f"{self.name} (pid {self.pid})" if self.pid else self.name


#: The owner of a socket that no process has open.
KERNEL = Program(0, "the kernel")


def parse_listeners(protocol: str, text: str) -> list[Listener]:
    """Parse ``/proc/net/tcp``, ``tcp6``, ``udp`` or ``udp6``; ``protocol`` is the file's name."""
    listeners: list[Listener] = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 9 and words[3] == _STATES[protocol]:
            address, __, port = words[1].partition(":")
            listeners.append(Listener(protocol.rstrip("6"), _decode(address), int(port, 16), words[9]))
    return listeners


def read_listeners() -> list[Listener]:
    """Return every listening socket of this host's network namespace."""
    listeners: list[Listener] = []
    for protocol in _STATES:
        with contextlib.suppress(FileNotFoundError), open(f"/proc/net/{protocol}", encoding="ascii") as stream:
            listeners += parse_listeners(protocol, stream.read())
    return listeners


def find_programs(inodes: Iterable[str]) -> dict[str, Program]:
    """Return the process that has each of these sockets open, by inode. Sees every process only as root."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    programs: dict[str, Program] = {}
    for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    inode = wanted.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                    # systemd keeps the sockets that it made open too; the service's process is the one to report.
                    if inode and (inode not in programs or programs[inode].pid == 1):
                        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                            programs[inode] = Program(int(pid), stream.read().strip())
    return programs


def _decode(address: str) -> str:
    """Decode an address: 32-bit words in the machine's byte order; an IPv4 address may be mapped into IPv6."""
    words = [bytes.fromhex(address[start : start + 8]) for start in range(0, len(address), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    decoded = ipaddress.ip_address(raw)
    return str(getattr(decoded, "ipv4_mapped", None) or decoded)
