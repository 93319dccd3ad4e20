# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discover machines: named hosts, named networks, or the networks of this computer.

`plan_discovery` selects the addresses, so that they can be shown first; `discover` scans them; `search` does both and
prints what it does. The scan is the collection's, which the inventory plugin noslop.studio.lan uses too.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import interfaces, scan_targets, ssh_scan

from noslop_driver.errors import DriverError, UsageError
from noslop_driver.models import Candidate, Model, Problem
from noslop_driver.output.terminal import Terminal


@dataclass(frozen=True)
class SearchTargets:
    """The networks and hosts to search. Without any, the networks of this computer are searched."""

    networks: Sequence[str] = ()
    hosts: Sequence[str] = ()
    port: int = scan_targets.SSH_PORT

    @property
    def named(self) -> bool:
        """Return whether networks or hosts were named."""
        return bool(self.networks or self.hosts)


class Discovery(Model):
    """The result of a discovery: machines, failures and their reasons."""

    candidates: list[Candidate]
    """One for each machine with an SSH server: those that the user named first, then by address."""
    others: list[Candidate]
    """Named hosts that did not answer with SSH, and machines of a network that have no SSH server."""
    tried: list[str]
    """The interfaces and ranges that were tried or left out, with counts, as lines of text."""
    counts: dict[str, int]
    """Number of addresses by status."""
    notes: list[str]
    problems: list[Problem]


def search(targets: SearchTargets, terminal: Terminal) -> Discovery:
    """Search the networks and hosts that were named, or the networks of this computer, and print progress.

    Raises:
        UsageError: a network is too large, or a name is unknown.
        DriverError: this computer could not complete the scan.
    """
    plan = plan_discovery(targets.networks, targets.hosts, port=targets.port)
    for line in plan.describe():
        terminal.print(line)
    with terminal.out.status("Searching"):
        result = discover(plan)
    counts = ", ".join(f"{count} {status}" for status, count in result.counts.items() if count)
    terminal.print(f"{len(result.candidates)} with an SSH server ({counts or 'nothing tried'})")
    for note in result.notes:
        terminal.warn(note)
    return result


def plan_discovery(
    networks: Sequence[str] = (),
    hosts: Sequence[str] = (),
    *,
    port: int = scan_targets.SSH_PORT,
    limits: scan_targets.Limits | None = None,
    surroundings: interfaces.LocalNetworks | None = None,
) -> scan_targets.ScanPlan:
    """Select the addresses to scan; `describe()` of the result lists them.

    Args:
        networks: networks or names of this computer's interfaces.
        hosts: names or addresses, each with `:port` if it differs from `port`.
        port: the SSH port of all others.
        limits: size and timing of the scan; None: the collection's defaults.
        surroundings: this computer's networks; None: read them.

    Raises:
        UsageError: a network is too large, or a name is unknown.
    """
    try:
        return scan_targets.plan_scan(surroundings or interfaces.read_local_networks(), networks, hosts, port, limits)
    except scan_targets.ScanTargetError as error:
        raise UsageError(str(error)) from error


def discover(plan: scan_targets.ScanPlan) -> Discovery:
    """Scan the addresses of `plan_discovery`, each once.

    Raises:
        DriverError: this computer could not complete the scan.
    """
    try:
        result = ssh_scan.scan(plan)
    except ssh_scan.ScanError as error:
        raise DriverError(str(error)) from error
    candidates = [_make_candidate(machine) for machine in result.machines()]
    others = [_make_candidate(finding) for finding in result.findings if _is_worth_showing(finding)]
    problems = [
        Problem(host=other.hostname or other.address, what=other.detail, todo=other.todo, kind=other.status)
        for other in others
        if other.named
    ]
    if not candidates and not problems:
        problems = [_explain_empty_result(result)]
    return Discovery(
        candidates=candidates,
        others=others,
        tried=plan.describe(),
        counts=result.counts,
        notes=list(result.notes),
        problems=problems,
    )


def format_target(address: str, port: int) -> str:
    """Return an address and a port in the form of the flag `--host`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def find_own_address(destination: str) -> str | None:
    """Return the address from which this computer reaches another one, or None if there is no route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((destination, 9))  # a datagram socket: nothing is sent
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _is_worth_showing(finding: ssh_scan.Finding) -> bool:
    absent = finding.status in (ssh_scan.TIMEOUT, ssh_scan.NO_ROUTE)
    return finding.status != ssh_scan.OPEN and (finding.named or not absent)


def _make_candidate(finding: ssh_scan.Finding) -> Candidate:
    return Candidate(
        address=finding.address,
        port=finding.port,
        hostname=finding.hostname or None,
        banner=finding.banner or None,
        host_key=finding.fingerprint or None,
        host_keys=list(finding.keys),
        addresses=list(finding.addresses) or [finding.address],
        named=finding.named,
        status=finding.status,
        detail=finding.detail,
        todo=finding.todo,
    )


def _explain_empty_result(result: ssh_scan.ScanResult) -> Problem:
    """Return why the search found no SSH server, and what to try next."""
    if not result.plan.targets:
        return Problem(
            kind="nothing_to_try",
            what="There was no address to search. " + "; ".join(result.plan.describe()[:-1]),
            todo="Name a network (--network 192.168.1.0/24) or the machines (--host render1 --host 192.168.1.20).",
        )
    todo = [
        "Name the machines (--host) or their network (--network) if they are elsewhere.",
        "Check that they are switched on and in the same network: guest and client-isolated Wi-Fi keep machines apart.",
    ]
    if result.counts.get(ssh_scan.CLOSED):
        todo.insert(0, "Install an SSH server on the machines that are there (Debian: apt install openssh-server).")
    if result.counts.get(ssh_scan.REFUSED):
        todo.insert(0, "Wait a minute and look at the log of the machines that accepted the connection and closed it.")
    return Problem(
        kind="nothing_found", what="No SSH server was found. " + "; ".join(result.describe()), todo=" ".join(todo)
    )
