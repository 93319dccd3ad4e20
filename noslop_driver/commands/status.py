# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a studio from its inventory and its records. Connects to no host and changes nothing."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from noslop_driver import records
from noslop_driver.commands.models.state import describe_models, format_models
from noslop_driver.commands.monitor_view import format_monitors, read_monitors
from noslop_driver.commands.node_view import read_verified_nodes
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult, OutcomeData, StatusData, list_service_addresses
from noslop_driver.commands.studio import find_studio, read_members
from noslop_driver.errors import ExitCode
from noslop_driver.inventory import directory, machines
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.render import GROUPS
from noslop_driver.output.terminal import Terminal


def status(options: Options, terminal: Terminal) -> CommandResult:
    """Show the hosts and their roles, the services, and the last deployment, teardown and verification."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    members = read_members(studio.path, options.user or getpass.getuser())
    addresses = list_service_addresses(members)
    outcomes = {name: _read_last_outcome(studio, name) for name in ("deploy", "teardown")}
    verification = _read_last_verification(studio)
    edited = [name for name in (directory.HOSTS, directory.STUDIO, directory.CONNECTION) if studio.is_edited(name)]

    table = Table(title=f"Studio {studio.name}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("host", "address", "roles", "open"):
        table.add_column(heading)
    for member in members:
        roles = ", ".join(group for group in GROUPS if group in member.groups)
        urls = "\n".join(address["url"] for address in addresses if address["host"] == member.name)
        table.add_row(escape(member.name), escape(member.studio_address), roles or "nothing", escape(urls))
    terminal.print_table(table)
    for title, outcome in (*outcomes.items(), ("verification", verification)):
        if outcome:
            terminal.print(_format_outcome(f"last {title}", outcome))
            log = Path(outcome["record"], records.LOG)
            if log.exists():
                terminal.print(f"  log: {log}")
    if not verification:
        terminal.print("last verification: none yet")
    left_out = {
        host: details["left_out"] for host, details in read_verified_nodes(studio).items() if details["left_out"]
    }
    for host, reasons in left_out.items():
        terminal.print(f"{host} leaves out custom nodes: {', '.join(reasons)} ('noslop-driver nodes list' says why)")
    monitors = read_monitors(studio)
    for line in format_monitors(monitors):
        terminal.print(line)
    models = describe_models(studio, members)
    for line in format_models(models):
        terminal.print(line)
    if edited:
        terminal.print(f"edited by hand: {', '.join(edited)}")
    removed = machines.read(studio).removed
    for machine in removed:
        terminal.print(
            f"removed: {machine.name} ({machine.address}), {machine.removed}. To bring it back: noslop-driver host add "
            f"--again {machine.name}"
        )
    data: StatusData = {
        "inventory": str(studio.path),
        "hosts": [
            {"name": member.name, "address": member.studio_address, "groups": sorted(member.groups)}
            for member in members
        ],
        "addresses": addresses,
        "last_deployment": outcomes["deploy"],
        "last_teardown": outcomes["teardown"],
        "last_verification": verification,
        "nodes_left_out": left_out,
        "monitors": monitors,
        "edited": edited,
        "removed_machines": [
            {"name": machine.name, "address": machine.address, "removed": machine.removed} for machine in removed
        ],
        "models": models,
    }
    return CommandResult(ExitCode.OK, data)


def _read_last_outcome(studio: StudioDirectory, command: str) -> OutcomeData | None:
    record = records.find_latest(studio.records, command)
    if record is None:
        return None
    path, outcome = record
    return {
        "ok": outcome.get("ok"),
        "exit_code": outcome.get("exit_code"),
        "message": outcome.get("message"),
        "started": outcome.get("started"),
        "finished": outcome.get("finished"),
        "record": str(path),
    }


def _read_last_verification(studio: StudioDirectory) -> OutcomeData | None:
    record = records.find_latest(studio.records, having="verification.json")
    if record is None:
        return None
    path, _outcome = record
    report = json.loads((path / "verification.json").read_text(encoding="utf-8"))
    checks = report.get("checks", [])
    failed = sum(not check.get("ok") for check in checks)
    return {
        "ok": report.get("ok"),
        "finished": report.get("finished"),
        "message": f"{len(checks)} checks, {failed} failed",
        "record": str(path),
    }


def _format_outcome(title: str, outcome: OutcomeData) -> str:
    status = "ok" if outcome["ok"] else "failed"
    message = f": {outcome['message']}" if outcome.get("message") else ""
    return f"{title}: {status}, {outcome['finished']}{message} ({outcome['record']})"
