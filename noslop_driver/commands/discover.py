# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for machines with an SSH server and list them."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.errors import ExitCode
from noslop_driver.hosts.discovery import Discovery, SearchTargets, search
from noslop_driver.output.terminal import Terminal


def discover(options: Options, terminal: Terminal) -> CommandResult:
    """Find machines with an SSH server, without logging in."""
    discovery = search(SearchTargets(options.networks, options.hosts, options.port), terminal)
    _print_discovery(discovery, terminal)
    message = "\n".join(f"{problem.what} {problem.todo}" for problem in discovery.problems)
    code = ExitCode.UNREACHABLE if discovery.problems else ExitCode.OK
    return CommandResult(code, discovery.model_dump(mode="json"), message)


def _print_discovery(discovery: Discovery, terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("address", "name", "SSH server", "host key"):
        table.add_column(heading)
    for candidate in discovery.candidates:
        endpoint = candidate.address if candidate.port == 22 else f"{candidate.address}:{candidate.port}"
        table.add_row(
            *map(escape, (endpoint, candidate.hostname or "", candidate.banner or "", candidate.host_key or ""))
        )
    if discovery.candidates:
        terminal.print_table(table)
    for other in discovery.others:
        terminal.print(f"{other.hostname or other.address}: {other.detail} {other.todo}")
