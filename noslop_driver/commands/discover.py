# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the SSH servers that a search finds."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from noslop_driver.cli.session import Options, Session
from noslop_driver.commands.result import Answer
from noslop_driver.errors import ExitCode
from noslop_driver.hosts.discovery import Discovery
from noslop_driver.hosts.gather import Surveyor
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets


def discover(options: Options, terminal: Terminal) -> Answer:
    """Find the machines; log in to none."""
    session = Session(options, terminal, Secrets(), StudioDirectory(Path()))
    found = Surveyor(session).discover()
    _show_found(found, terminal)
    message = "\n".join(f"{problem.what} {problem.todo}" for problem in found.problems)
    code = ExitCode.UNREACHABLE if found.problems else ExitCode.OK
    return Answer(code, found.model_dump(mode="json"), message)


def _show_found(found: Discovery, terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("address", "name", "SSH server", "host key"):
        table.add_column(heading)
    for candidate in found.candidates:
        where = candidate.address if candidate.port == 22 else f"{candidate.address}:{candidate.port}"
        table.add_row(*map(escape, (where, candidate.hostname or "", candidate.banner or "", candidate.host_key or "")))
    if found.candidates:
        terminal.out.print(table)
    for other in found.others:
        terminal.say(f"{other.hostname or other.address}: {other.detail} {other.todo}")
