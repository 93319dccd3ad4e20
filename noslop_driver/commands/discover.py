# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for machines with an SSH server and list them."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.errors import ExitCode
from noslop_driver.hosts.discovery import Discovery, SearchTargets, search
from noslop_driver.models import CandidateStatus
from noslop_driver.output.terminal import Terminal

SILENCE: Mapping[CandidateStatus, str] = {
    "closed": "refused",
    "timeout": "timed out",
    "no_route": "no route",
    "refused": "no SSH banner",
    "error": "not tried",
}
"""The reason why a host is silent, by its status."""


def discover(options: Options, terminal: Terminal) -> CommandResult:
    """Find machines with an SSH server, without logging in."""
    targets = SearchTargets(options.networks, options.hosts, options.port, sources=options.sources, mdns=options.mdns)
    discovery = search(targets, terminal)
    print_discovery(discovery, terminal)
    message = "\n".join(f"{problem.what} {problem.todo}" for problem in discovery.problems)
    code = ExitCode.UNREACHABLE if discovery.problems else ExitCode.OK
    return CommandResult(code, discovery.model_dump(mode="json"), message)


def print_discovery(discovery: Discovery, terminal: Terminal) -> None:
    """Print the machines with an SSH server as a table, and a line for each of the others."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    with_origin = any(candidate.origin for candidate in discovery.candidates)
    for heading in ("address", "name", "SSH server", "host key", *(["from"] if with_origin else [])):
        table.add_column(heading, overflow="fold")
    for candidate in discovery.candidates:
        endpoint = candidate.address if candidate.port == 22 else f"{candidate.address}:{candidate.port}"
        server = candidate.banner or (f"through {candidate.ssh.proxy}" if candidate.ssh.proxy else "")
        announced = f"{candidate.announced} (announced)" if candidate.announced else ""
        cells = [endpoint, candidate.hostname or announced, server, candidate.host_key or ""]
        cells += [candidate.origin] if with_origin else []
        table.add_row(*map(escape, cells))
    if discovery.candidates:
        terminal.print_table(table)
    for other in discovery.others:
        reason = f"{SILENCE[other.status]}: {other.detail.rstrip('.')}."
        terminal.print(f"{other.hostname or other.address}: {reason} {other.todo}")
