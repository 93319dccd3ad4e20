# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the machines: named hosts, named networks, or the networks this computer is in.

`prepare` decides what will be tried, so that it can be shown first; `discover` tries it. The sockets are the
collection's (`module_utils.scanner`), the same that the inventory plugin noslop.studio.lan uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import interfaces, scan_targets, ssh_scan

from noslop_driver.errors import DriverError, UsageError
from noslop_driver.models import Candidate, Model, Problem


class Discovery(Model):
    """What was found, what was not, and why."""

    candidates: list[Candidate]
    """One for each machine with an SSH server: what the user named first, then by address."""
    others: list[Candidate]
    """Named hosts that did not answer with SSH, and machines of a network that are there but have no SSH server."""
    tried: list[str]
    """The interfaces and ranges that were tried or left out, with counts, in lines for a person."""
    counts: dict[str, int]
    """Number of addresses by status."""
    notes: list[str]
    problems: list[Problem]


def prepare(
    networks: Sequence[str] = (),
    hosts: Sequence[str] = (),
    *,
    port: int = scan_targets.SSH_PORT,
    limits: scan_targets.Limits | None = None,
    surroundings: interfaces.LocalNetworks | None = None,
) -> scan_targets.ScanPlan:
    """Decide what to try; `describe()` of the result says it in words.

    Args:
        networks: networks or names of this computer's interfaces.
        hosts: names or addresses, each with `:port` where it has its own.
        port: the SSH port of all others.
        limits: how large and how fast; None: the collection's.
        surroundings: this computer's networks; None: look.

    Raises:
        UsageError: a network is too large, or a name means nothing.
    """
    try:
        return scan_targets.plan_scan(surroundings or interfaces.read_local_networks(), networks, hosts, port, limits)
    except scan_targets.ScanTargetError as error:
        raise UsageError(str(error)) from error


def discover(plan: scan_targets.ScanPlan, on_candidate: Callable[[Candidate], None] | None = None) -> Discovery:
    """Try what `prepare` decided, each address once.

    Args:
        plan: from `prepare`.
        on_candidate: called as soon as an address has answered or failed, keys not yet read and nothing merged.

    Raises:
        DriverError: this computer could not carry the search through.
    """

    def tell(finding: ssh_scan.Finding) -> None:
        if on_candidate:
            on_candidate(_candidate(finding))

    try:
        seen = ssh_scan.scan(plan, tell)
    except ssh_scan.ScanError as error:
        raise DriverError(str(error)) from error
    candidates = [_candidate(machine) for machine in seen.machines()]
    others = [_candidate(finding) for finding in seen.findings if _worth_showing(finding)]
    problems = [
        Problem(host=other.hostname or other.address, what=other.detail, todo=other.todo, kind=other.status)
        for other in others
        if other.named
    ]
    if not candidates and not problems:
        problems = [_nothing_found(seen)]
    return Discovery(
        candidates=candidates,
        others=others,
        tried=plan.describe(),
        counts=seen.counts,
        notes=list(seen.notes),
        problems=problems,
    )


def _worth_showing(finding: ssh_scan.Finding) -> bool:
    absent = finding.status in (ssh_scan.TIMEOUT, ssh_scan.NO_ROUTE)
    return finding.status != ssh_scan.OPEN and (finding.named or not absent)


def _candidate(finding: ssh_scan.Finding) -> Candidate:
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


def _nothing_found(seen: ssh_scan.ScanResult) -> Problem:
    """Say why: a search that comes back empty is what people are stuck with."""
    if not seen.plan.targets:
        return Problem(
            kind="nothing_to_try",
            what="There was nothing to search. " + "; ".join(seen.plan.describe()[:-1]),
            todo="Name a network (--network 192.168.1.0/24) or the machines (--host render1 --host 192.168.1.20).",
        )
    todo = [
        "Name the machines (--host) or their network (--network) if they are elsewhere.",
        "Check that they are switched on and in the same network: guest and client-isolated Wi-Fi keep machines apart.",
    ]
    if seen.counts.get(ssh_scan.CLOSED):
        todo.insert(0, "Install an SSH server on the machines that are there (Debian: apt install openssh-server).")
    if seen.counts.get(ssh_scan.REFUSED):
        todo.insert(0, "Wait a minute and look at the log of the machines that took the connection and hung up.")
    return Problem(
        kind="nothing_found", what="No SSH server was found. " + "; ".join(seen.describe()), todo=" ".join(todo)
    )
