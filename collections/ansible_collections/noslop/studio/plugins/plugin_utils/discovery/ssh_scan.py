# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find SSH servers: connect to each address of a scan plan once, and read the server's greeting and public key.

Needs no privilege, never logs in, and sends only TCP, but for the questions of multicast DNS. A machine that announces
an SSH server on another port is tried there too. OpenSSH 9.8 and later counts connections that do not authenticate
(sshd_config(5), PerSourcePenalties), so each server gets one of them, and a second one by ``ssh-keyscan`` only where
the first gave no key. Every target without an SSH server has a status, a reason and a next step.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import keyscan, mdns
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.announcements import Announced
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.host_key import NoKeyError, read_host_key
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import Limits, ScanPlan, Target

OPEN, CLOSED, TIMEOUT, NO_ROUTE, REFUSED, ERROR = STATUSES = (
    "open",
    "closed",
    "timeout",
    "no_route",
    "refused",
    "error",
)

#: RFC 4253, section 4.2: the identification line has at most 255 characters; other lines may come before it.
_GREETING_BYTES = 255
_GREETING_LINES = 20
_RESOLVE_S = 5.0
#: For one key exchange, here and with ssh-keyscan: it takes seconds on a machine that is emulated.
_EXCHANGE_S = 10
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ENONET}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


class ScanError(RuntimeError):
    """This computer could not complete the scan; a partial result would be misleading."""


@dataclass(frozen=True)
class Finding:
    """The result of one target. ``detail`` is what was observed, ``todo`` the next step (empty when open).

    ``keys`` are public keys as ``<type> <base64>``. ``addresses`` are all addresses with the same key. ``announced`` is
    the name that some machine announced for the address: to be shown, and to identify nothing.
    """

    address: str
    port: int
    status: str
    detail: str = ""
    todo: str = ""
    hostname: str = ""
    named: bool = False
    banner: str = ""
    keys: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    announced: str = ""

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the first key, as ``ssh-keygen -l`` prints it; empty when there is no key."""
        return fingerprint(self.keys[0]) if self.keys else ""


@dataclass(frozen=True)
class ScanResult:
    """The plan and its result: one finding for each target, in the plan's order, and for each announced SSH server.

    ``heard`` are lines of text about announcements.
    """

    plan: ScanPlan
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of targets by status, without zeros."""
        counted = Counter(finding.status for finding in self.findings)
        return {status: counted[status] for status in STATUSES if counted[status]}

    def machines(self) -> list[Finding]:
        """Return the SSH servers, each machine once: see :func:`merge`."""
        return merge(finding for finding in self.findings if finding.status == OPEN)

    def describe(self) -> list[str]:
        """Return the targets and the results as lines of text."""
        machines = self.machines()
        merged = sum(len(machine.addresses) for machine in machines) - len(machines)
        counts = ", ".join(f"{count} {_STATUS_TEXT[status]}" for status, count in self.counts.items())
        same = f" ({merged} of these are further addresses of a machine)" if merged else ""
        return [*self.plan.describe(), f"seen: {counts or 'nothing was tried'}{same}", *self.heard, *self.notes]


_STATUS_TEXT = {
    OPEN: "with an SSH server",
    CLOSED: "there without one",
    TIMEOUT: "gave no answer",
    NO_ROUTE: "cannot be reached",
    REFUSED: "took the connection but gave no SSH greeting",
    ERROR: "could not be tried",
}


def scan(plan: ScanPlan) -> ScanResult:
    """Try every target of ``plan`` once.

    Raises:
        ScanError: this computer ran out of file descriptors, memory or room in its neighbour table.
    """
    tried, extra, announced, link_notes = asyncio.run(_probe_and_listen(plan))
    servers = [(one.address, one.port) for one in [*tried, *extra] if one.status == OPEN and not one.keys]
    keys, notes = keyscan.read_keys(servers, _EXCHANGE_S)
    tried, extra = (
        [
            replace(
                one,
                keys=one.keys or keys.get((one.address, one.port), ()),
                announced=announced.names.get(one.address, ""),
            )
            for one in findings
        ]
        for findings in (tried, extra)
    )
    findings = _join(tried, extra)
    return ScanResult(plan, tuple(findings), (*link_notes, *notes), _describe_announced(announced, tried, extra))


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Merge the findings with the same host key on the same port.

    Different ports with one key stay separate: behind one address with forwarded ports they are usually different
    machines. Machines made from one image may share a key too; only their facts can distinguish them, so the code
    that gathers facts compares ``addresses`` with the machine's own.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        identity = ("key", finding.keys[0]) if finding.keys else ("address", finding.address)
        groups.setdefault((*identity, str(finding.port)), []).append(finding)
    machines = []
    for group in groups.values():
        best, *others = sorted(group, key=_preference)
        hostname = next((finding.hostname for finding in (best, *others) if finding.hostname), "")
        addresses = tuple(dict.fromkeys(finding.address for finding in (best, *others)))
        announced = next((finding.announced for finding in (best, *others) if finding.announced), "")
        named = any(finding.named for finding in group)
        machines.append(replace(best, hostname=hostname, named=named, addresses=addresses, announced=announced))
    return sorted(machines, key=_preference)


def fingerprint(key: str) -> str:
    """Return the fingerprint (``SHA256:...``) of a public key ``<type> <base64>``, as ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


async def _probe_and_listen(plan: ScanPlan) -> tuple[list[Finding], list[Finding], Announced, tuple[str, ...]]:
    """Return what the targets answer, what further announced servers answer, the announcements, and notes."""
    listening = asyncio.ensure_future(mdns.listen(plan.links, plan.limits.listen_s))
    try:
        tried = await _probe_all(plan.targets, plan.limits)
        announced, notes = await listening
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    known = {(finding.address, finding.port) for finding in tried}
    further = [Target(address, port) for address, port in announced.servers if (address, port) not in known]
    return tried, await _probe_all(further, plan.limits), announced, notes


def _join(tried: Sequence[Finding], extra: Sequence[Finding]) -> list[Finding]:
    """Return the findings of the targets, and the announced servers that are no machine of these.

    A machine that shows the same key at the same address is there already. One that answers on its announced port only
    is no machine without an SSH server.
    """
    servers = {(finding.address, key) for finding in tried for key in finding.keys}
    added = [
        finding
        for finding in extra
        if finding.status == OPEN and not any((finding.address, key) in servers for key in finding.keys)
    ]
    addresses = {finding.address for finding in added}
    kept = [one for one in tried if one.status == OPEN or one.named or one.address not in addresses]
    return [*kept, *added]


def _describe_announced(announced: Announced, tried: Sequence[Finding], extra: Sequence[Finding]) -> tuple[str, ...]:
    lines = []
    answering = {finding.address for finding in [*tried, *extra] if finding.status == OPEN}
    if announced.names or announced.servers:
        named = len(answering & set(announced.names))
        ports = sum(finding.status == OPEN for finding in extra)
        further = f", {ports} of {len(extra)} on other ports answered" if extra else ""
        lines.append(f"mDNS: {_count(named, 'machine')} with an announced name{further}")
    if announced.refused:
        refused = _count(announced.refused, "announced address", "announced addresses")
        lines.append(f"mDNS: {refused} outside the searched networks, not contacted")
    if announced.overflow:
        lines.append("mDNS: more was announced than is read, so machines on other ports may be missing: name them")
    return tuple(lines)


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


async def _probe_all(targets: Sequence[Target], limits: Limits) -> list[Finding]:
    waiting = iter(enumerate(targets))
    findings: dict[int, Finding] = {}

    async def work() -> None:
        for index, target in waiting:
            findings[index] = await _probe(target, limits)

    workers = [asyncio.ensure_future(work()) for __ in range(min(limits.in_flight, len(targets)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    # A name and a network may both contain one address: the finding with the name is kept.
    unique: dict[tuple[str, int], Finding] = {}
    for _index, finding in sorted(findings.items()):
        unique.setdefault((finding.address, finding.port), finding)
    return list(unique.values())


async def _probe(target: Target, limits: Limits) -> Finding:
    if not target.hostname:
        return await _probe_address(target, target.address, limits)
    loop = asyncio.get_running_loop()
    try:
        # asyncio.timeout (Python 3.11, what controllers have): wait_for there may swallow a cancellation.
        async with asyncio.timeout(_RESOLVE_S):
            looked_up = await loop.getaddrinfo(target.hostname, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        _stop_when_exhausted(error, limits)
        reason = "no answer in time" if isinstance(error, TimeoutError) else getattr(error, "strerror", error)
        return _finding(
            target,
            target.address,
            ERROR,
            f"the name {target.hostname} could not be looked up: {reason}",
            "Check the spelling, give its address instead, or add the name to DNS or /etc/hosts.",
        )
    # IPv4 first: a studio's exports and firewall rules are usually written with it.
    addresses = dict.fromkeys(str(entry[4][0]) for entry in sorted(looked_up, key=lambda entry: entry[0]))
    tried = []
    for address in addresses:
        tried.append(await _probe_address(target, address, limits))
        if tried[-1].status == OPEN:
            return tried[-1]
    return tried[0]


async def _probe_address(target: Target, address: str, limits: Limits) -> Finding:
    where = f"{address} port {target.port}"
    try:
        async with asyncio.timeout(limits.connect_s):
            reader, writer = await asyncio.open_connection(address, target.port, limit=4096)
    except OSError as error:
        return _not_connected(target, address, error, limits)
    try:
        async with asyncio.timeout(limits.greeting_s):
            banner = await _greeting(reader)
    except TimeoutError:
        detail = f"{where} took the connection and said nothing for {limits.greeting_s:g} s"
    except (OSError, ValueError) as error:
        detail = f"{where} took the connection, then: {error}"
    else:
        if banner.startswith("SSH-"):
            keys = await _read_keys(reader, writer)
            return replace(_finding(target, address, OPEN, "", ""), banner=banner, keys=keys)
        answer = f"said {banner!r}, which is not SSH" if banner else "hung up without a word"
        detail = f"{where} took the connection and {answer}"
    finally:
        writer.close()
    return _finding(
        target,
        address,
        REFUSED,
        detail,
        "If an SSH server should be there, look at its log and its limits (MaxStartups, PerSourcePenalties, "
        "tcp wrappers), wait a minute and try once more; if it has another port, name it.",
    )


async def _read_keys(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, ...]:
    """Return the key of the server on a connection; nothing where it cannot be read there."""
    try:
        async with asyncio.timeout(_EXCHANGE_S):
            return (await read_host_key(reader, writer),)
    except (OSError, EOFError, NoKeyError):
        return ()


async def _greeting(reader: asyncio.StreamReader) -> str:
    """Return the line that starts with ``SSH-``, else the first line (empty when there was none)."""
    first = ""
    for __ in range(_GREETING_LINES):
        line = await reader.readline()
        text = "".join(char for char in line.decode("utf-8", "replace") if char.isprintable())[:_GREETING_BYTES]
        if text.startswith("SSH-"):
            return text
        first = first or text
        if not line.endswith(b"\n"):
            break
    return first


def _not_connected(target: Target, address: str, error: OSError, limits: Limits) -> Finding:
    where = f"{address} port {target.port}"
    if isinstance(error, TimeoutError):
        return _finding(
            target,
            address,
            TIMEOUT,
            f"{where} gave no answer within {limits.connect_s:g} s",
            "Check that the machine is switched on, that the address is right, and that no firewall drops the port.",
        )
    _stop_when_exhausted(error, limits)
    number = error.errno
    reason = os.strerror(number) if number else str(error)
    if number == errno.ECONNREFUSED:
        return _finding(
            target,
            address,
            CLOSED,
            f"{address} answers, but nothing listens on port {target.port}",
            "Install and start an SSH server there (Debian: apt install openssh-server), or name the port it has.",
        )
    if number in _UNREACHABLE:
        return _finding(
            target,
            address,
            NO_ROUTE,
            f"{where} cannot be reached: {reason}",
            "Check that the machine is switched on and in a network that this computer is in or has a route to "
            "(`ip route get ADDRESS`).",
        )
    todo = "Check the address and this computer's own network settings."
    if number in _FORBIDDEN:
        todo = "A rule on this computer forbids it: look at its firewall (`nft list ruleset`) and its routes."
    return _finding(target, address, ERROR, f"{where} could not be tried: {reason}", todo)


def _stop_when_exhausted(error: BaseException, limits: Limits) -> None:
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        what = os.strerror(error.errno).lower()
        raise ScanError(
            f"This computer could not open more connections ({what}; {limits.in_flight} at a time were allowed), so "
            "the scan was stopped: addresses without an answer may have a server. Allow more open files "
            "(`ulimit -n 1024`), let fewer run at a time, or name a smaller network."
        ) from error


def _finding(target: Target, address: str, status: str, detail: str, todo: str) -> Finding:
    return Finding(address, target.port, status, detail, todo, target.hostname, target.named)


def _preference(finding: Finding) -> tuple[bool, bool, int, int, int]:
    """Return the sort key of a machine's addresses: what the user named, then IPv4, then the lowest."""
    address = ipaddress.ip_address(finding.address.partition("%")[0])
    return not finding.named, address.is_link_local, address.version, int(address), finding.port
