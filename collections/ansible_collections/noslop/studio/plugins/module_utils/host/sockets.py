# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a host: read from ``/proc``, so that a bare host needs no program for it."""

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
    """One socket that takes connections or datagrams."""

    protocol: str
    address: str
    port: int
    inode: str

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can reach it."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        """For messages."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol} {address}:{self.port}"


@dataclass(frozen=True)
class Program:
    """The process behind a socket."""

    pid: int
    name: str

    def __str__(self) -> str:
        """For messages."""
        return f"{self.name} (pid {self.pid})" if self.pid else self.name


#: Who holds a socket that no process has open.
KERNEL = Program(0, "the kernel")


def parse_listeners(protocol: str, text: str) -> list[Listener]:
    """Parse ``/proc/net/tcp``, ``tcp6``, ``udp`` or ``udp6``; ``protocol`` is the file's name."""
    listeners: list[Listener] = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 9 and words[3] == _STATES[protocol]:
            address, _, port = words[1].partition(":")
            listeners.append(Listener(protocol.rstrip("6"), _decode(address), int(port, 16), words[9]))
    return listeners


def read_listeners() -> list[Listener]:
    """Every listening socket of this host's network namespace."""
    listeners: list[Listener] = []
    for protocol in _STATES:
        with contextlib.suppress(FileNotFoundError), open(f"/proc/net/{protocol}", encoding="ascii") as stream:
            listeners += parse_listeners(protocol, stream.read())
    return listeners


def find_programs(inodes: Iterable[str]) -> dict[str, Program]:
    """Find the processes that hold these sockets. Sees every process only as root."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    programs: dict[str, Program] = {}
    for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    inode = wanted.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                    # A socket that systemd made is held by systemd too; the program behind it is who counts.
                    if inode and (inode not in programs or programs[inode].pid == 1):
                        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                            programs[inode] = Program(int(pid), stream.read().strip())
    return programs


def _decode(address: str) -> str:
    """Addresses stand there as 32-bit words in the machine's byte order, those of IPv4 sometimes within IPv6."""
    words = [bytes.fromhex(address[start : start + 8]) for start in range(0, len(address), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    decoded = ipaddress.ip_address(raw)
    return str(getattr(decoded, "ipv4_mapped", None) or decoded)
