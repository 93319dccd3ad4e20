# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the causes of failed checks, and return them for `--json`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, enumerate_words
from rich.markup import escape

from noslop_driver.commands.doctor_result import CauseData
from noslop_driver.diagnosis.cause import Cause
from noslop_driver.output.terminal import Terminal

#: Consequences of one cause that are printed with their text.
MOST_CONSEQUENCES = 3
MOST_LINES = 6


def make_cause_data(cause: Cause) -> CauseData:
    """Return a cause for `--json`."""
    return {
        "kind": cause.kind,
        "host": cause.host,
        "what": cause.what,
        "evidence": list(cause.evidence),
        "command": cause.remedy.command,
        "risk": cause.remedy.risk.value,
        "fixable": cause.remedy.fixable,
        "urgent": cause.urgent,
        "consequences": [
            {"host": check["host"], "check": check["check"], "share": check["share"], "observed": check["seen"]}
            for check in cause.consequences
        ],
    }


def print_causes(causes: Sequence[Cause], not_examined: Mapping[str, str], terminal: Terminal) -> None:
    """Print each cause with what shows it, what it leads to and what mends it; then what will hurt later."""
    now = [cause for cause in causes if cause.urgent]
    later = [cause for cause in causes if not cause.urgent]
    for number, cause in enumerate(now, 1):
        _print_cause(f"[red]{number}.[/]", cause, terminal)
    if later:
        terminal.print_markup("[yellow]Nothing suffers from these yet:[/]")
    for number, cause in enumerate(later, len(now) + 1):
        _print_cause(f"[yellow]{number}.[/]", cause, terminal)
    for host, reason in not_examined.items():
        terminal.warn(f"{host} was not examined: {reason}")


def _print_cause(number: str, cause: Cause, terminal: Terminal) -> None:
    terminal.print_markup(f"{number} {escape(describe_cause(cause))}")
    for line in cause.evidence[:MOST_LINES]:
        terminal.print_markup(f"    shows:   {escape(line)}")
    if cause.recognised:
        for line in describe_consequences(cause.consequences):
            terminal.print_markup(f"    leads to: {escape(line)}")
    fix = " --fix does it." if cause.remedy.safe else " --fix asks first." if cause.remedy.fixable else ""
    terminal.print_markup(f"    [bold]→[/] {escape(cause.remedy.command)}")
    terminal.print_markup(f"      risk: {escape(cause.remedy.risk.value)}.{fix}")


def describe_cause(cause: Cause) -> str:
    """Return what the cause is, with the host in front of it unless the text names it: `nfs-server` names no server."""
    named = re.search(rf"(?<![\w.-]){re.escape(cause.host)}(?!\w|[.-]\w)", cause.what)
    return cause.what if named else f"{cause.host}: {cause.what}"


def describe_consequences(checks: Sequence[Check]) -> list[str]:
    """Return the failed checks of a cause as lines: a check of many hosts and shares is one."""
    groups: dict[str, dict[str, None]] = {}
    for check in checks:
        groups.setdefault(check["check"], {})[check["host"]] = None
    lines = [f"{name} on {enumerate_words(hosts)}" for name, hosts in groups.items()]
    more = len(lines) - MOST_CONSEQUENCES
    return lines if more <= 1 else [*lines[:MOST_CONSEQUENCES], f"{more} more kinds of failed checks"]
