# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the way from a host to the storage server, its firewall rules and who has its ports, as evidence."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import server_connection
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import shorten
from ansible_collections.noslop.studio.plugins.module_utils.evidence.units import LINE_LENGTH
from ansible_collections.noslop.studio.plugins.module_utils.host import processes, state

CONNECT_S = 4.0
LOOK_UP_S = 3.0
PACKETS = 10
#: A table of nftables that NoSlop writes.
OWN_TABLE = "inet noslop_studio"
MOST_RULES = 10
_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+)[a-z ]* received")
_TABLE = re.compile(r"^table (\S+ \S+) \{")
_CHAIN = re.compile(r"^\s+chain (\S+) \{")
_HOOK = re.compile(r"\bhook (\w+)\b")
_VERDICT = re.compile(r"\b(drop|reject)\b")
_NUMBER = re.compile(r"\d+(?:-\d+)?")


def read_way(server: str) -> dict[str, Any]:
    """Return how packets of this host get to the storage server."""
    name_error, address = resolve(server)
    if name_error:
        return {"server": server, "name_error": name_error}
    # All at once: each may wait for its whole time where packets are dropped.
    with ThreadPoolExecutor(3) as pool:
        nfs, ssh = pool.submit(connect, address, studio.NFS_PORT), pool.submit(connect, address, 22)
        ping = pool.submit(state.run_program, "ping", "-n", "-q", "-c", str(PACKETS), "-i", "0.2", "-W", "1", address)
    sent, received = parse_ping(ping.result())
    return {
        "server": server,
        "address": address,
        "route": shorten(state.run_program("ip", "-oneline", "route", "get", address), LINE_LENGTH),
        "source": server_connection.read_source_address(address),
        "nfs": nfs.result(),
        "ssh": ssh.result(),
        "sent": sent,
        "received": received,
    }


def resolve(name: str) -> tuple[str, str]:
    """Return why a name cannot be looked up, empty where it can, and the address; an address is its own."""
    try:
        return "", str(ipaddress.ip_address(name))
    except ValueError:
        pass
    answers: list[tuple[str, str]] = []

    def look_up() -> None:
        try:
            answers.append(("", str(socket.getaddrinfo(name, studio.NFS_PORT, proto=socket.IPPROTO_TCP)[0][4][0])))
        except OSError as error:
            answers.append((str(error.strerror or error), ""))

    # A name server that does not answer is waited for much longer than that (resolv.conf(5)).
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(LOOK_UP_S)
    return answers[0] if answers else (f"no answer within {LOOK_UP_S:g} s", "")


def connect(address: str, port: int) -> str:
    """Return how a connection ended: open, refused, timeout, unreachable or another error's name."""
    try:
        socket.create_connection((address, port), timeout=CONNECT_S).close()
    except ConnectionRefusedError:
        return "refused"
    except socket.timeout:
        return "timeout"
    except OSError as error:
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return "unreachable"
        # A rule of the firewall on this host can refuse what is sent.
        return "forbidden" if error.errno == errno.EPERM else errno.errorcode.get(error.errno or 0, "error")
    return "open"


def parse_ping(text: str) -> tuple[int, int]:
    """Return the numbers of packets that were sent and answered, by the summary of ping(8); zeros without one."""
    match = _SUMMARY.search(text)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def read_firewall(ports: Collection[int]) -> dict[str, Any]:
    """Return whether NoSlop's table is loaded, and the rules of others that drop packets of the studio's ports."""
    ruleset = state.run_program("nft", "--stateless", "list", "ruleset")
    legacy = "\n".join(state.run_program(program, "-S") for program in ("iptables-legacy", "ip6tables-legacy"))
    return {
        "loaded": f"table {OWN_TABLE} {{" in ruleset,
        "drops": (find_drops(ruleset, ports) + find_legacy_drops(legacy, ports))[:MOST_RULES],
    }


def find_drops(ruleset: str, ports: Collection[int]) -> list[dict[str, str]]:
    """Return the rules in what ``nft list ruleset`` prints that drop or reject one of the ports, but NoSlop's own."""
    drops = []
    table = chain = hook = ""
    for line in ruleset.splitlines():
        opened, named, hooked = _TABLE.search(line), _CHAIN.search(line), _HOOK.search(line)
        if opened:
            table, chain, hook = opened.group(1), "", ""
        elif named:
            chain, hook = named.group(1), ""
        elif hooked:
            hook = hooked.group(1)
        elif table != OWN_TABLE and _VERDICT.search(line) and _names_port(line, ports):
            rule = shorten(line, LINE_LENGTH)
            drops.append({"table": table, "chain": chain, "hook": hook or chain.lower(), "rule": rule})
    return drops


def find_legacy_drops(rules: str, ports: Collection[int]) -> list[dict[str, str]]:
    """Return the rules in what ``iptables -S`` prints that drop or reject one of the ports."""
    drops = []
    for line in rules.splitlines():
        words = line.split()
        if len(words) > 2 and words[0] == "-A" and re.search(r"-j (DROP|REJECT)\b", line) and _names_port(line, ports):
            drops.append(
                {"table": "iptables", "chain": words[1], "hook": words[1].lower(), "rule": shorten(line, LINE_LENGTH)}
            )
    return drops


def _names_port(line: str, ports: Collection[int]) -> bool:
    """Return whether a rule names one of the ports as its destination, alone, in a set or in a range."""
    match = re.search(r"(?:dport|--dports?)\s+(\{[^}]*\}|\S+)", line)
    if not match:
        return False
    for text in _NUMBER.findall(match.group(1).replace(":", "-")):
        first, __, last = text.partition("-")
        if any(int(first) <= port <= int(last or first) for port in ports):
            return True
    return False


def read_ports(ports: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return the processes that listen on ports, by the name of the service whose port it is."""
    return {name: {"port": port, "listeners": _list_listeners(port)} for name, port in ports.items()}


def _list_listeners(port: int) -> list[dict[str, Any]]:
    return [
        {
            "pid": process.pid,
            "command": shorten(" ".join(process.arguments), LINE_LENGTH),
            "unit": process.unit,
            "state": processes.read_state(process.pid),
        }
        for process in processes.find_listeners(port)
    ]
