# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a studio: what its hosts are doing now, its inventory and its records. Changes nothing."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from noslop_driver import __version__, records
from noslop_driver.commands.login import read_login
from noslop_driver.commands.look_result import HostNowData
from noslop_driver.commands.models.state import describe_models, format_models
from noslop_driver.commands.monitor_view import format_monitors, read_monitors
from noslop_driver.commands.node_view import read_verified_nodes
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult, OutcomeData, StatusData, list_service_addresses
from noslop_driver.commands.status_view import format_host
from noslop_driver.commands.studio import find_studio, read_members
from noslop_driver.errors import ExitCode
from noslop_driver.hosts.status_run import ask_hosts
from noslop_driver.inventory import directory, machines
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.render import GROUPS
from noslop_driver.output.terminal import Terminal


def status(options: Options, terminal: Terminal) -> CommandResult:
    """Show the hosts, their roles and what they do now, and the last deployment, teardown and verification."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    members = read_members(studio.path, options.user or getpass.getuser())
    now = [] if options.cached else _ask_hosts(studio, members, options, terminal)
    verified_nodes = read_verified_nodes(studio)
    data: StatusData = {
        "inventory": str(studio.path),
        "hosts": [
            {"name": member.name, "address": member.studio_address, "groups": sorted(member.groups)}
            for member in members
        ],
        "now": now,
        "noslop_version": _read_version(studio),
        "addresses": list_service_addresses(members),
        "last_deployment": _read_last_outcome(studio, "deploy"),
        "last_teardown": _read_last_outcome(studio, "teardown"),
        "last_verification": _read_last_verification(studio),
        "nodes_left_out": {
            host: details["left_out"] for host, details in verified_nodes.items() if details["left_out"]
        },
        "monitors": read_monitors(studio),
        "edited": [
            name for name in (directory.HOSTS, directory.STUDIO, directory.CONNECTION) if studio.is_edited(name)
        ],
        "removed_machines": [
            {"name": machine.name, "address": machine.address, "removed": machine.removed}
            for machine in machines.read(studio).removed
        ],
        "models": describe_models(studio, members),
    }
    terminal.print_table(_make_table(studio.name, data))
    for line in _format(data):
        terminal.print(line)
    silent = [host["host"] for host in now if host["state"] is None]
    if not silent:
        return CommandResult(ExitCode.OK, data)
    message = f"{', '.join(silent)} could not be asked; the reasons are above. Everything else is as it is now."
    return CommandResult(ExitCode.UNREACHABLE, data, message)


def _make_table(studio: str, data: StatusData) -> Table:
    """Return the table of the hosts with their roles and addresses."""
    table = Table(title=f"Studio {studio}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("host", "address", "roles", "open"):
        table.add_column(heading)
    for host in data["hosts"]:
        roles = ", ".join(group for group in GROUPS if group in host["groups"])
        urls = "\n".join(address["url"] for address in data["addresses"] if address["host"] == host["name"])
        table.add_row(escape(host["name"]), escape(host["address"]), roles or "nothing", escape(urls))
    return table


def _format(data: StatusData) -> Iterator[str]:
    """Return the lines below the table: what the hosts do now, and what the records and the inventory have."""
    for one in data["now"]:
        yield from format_host(one)
    last = (
        ("deploy", data["last_deployment"]),
        ("teardown", data["last_teardown"]),
        ("verification", data["last_verification"]),
    )
    for title, outcome in last:
        yield from _format_outcome(f"last {title}", outcome) if outcome else ()
    if data["noslop_version"]:
        other = "" if data["noslop_version"] == __version__ else f"; this is {__version__}"
        yield f"last deploy by NoSlop {data['noslop_version']}{other}"
    if not data["last_verification"]:
        yield "last verification: none yet"
    for host, reasons in data["nodes_left_out"].items():
        yield f"{host} leaves out custom nodes: {', '.join(reasons)} ('noslop-driver nodes list' says why)"
    current = {one["host"] for one in data["now"] if one["state"] and one["state"]["monitor"]["finished"]}
    yield from format_monitors({host: monitor for host, monitor in data["monitors"].items() if host not in current})
    yield from format_models(data["models"])
    if data["edited"]:
        yield f"edited by hand: {', '.join(data['edited'])}"
    for machine in data["removed_machines"]:
        yield (
            f"removed: {machine['name']} ({machine['address']}), {machine['removed']}. To bring it back: noslop-driver "
            f"host add --again {machine['name']}"
        )


def _ask_hosts(
    studio: StudioDirectory, members: Sequence[Member], options: Options, terminal: Terminal
) -> list[HostNowData]:
    """Ask every host what it is doing. One that does not answer is shown as the records have it."""
    answers = ask_hosts(studio.path, members, read_login(options, terminal), terminal)
    last_answers = records.find_last_answers(studio.records)
    return [
        {
            "host": answer.host,
            "up": answer.up,
            "reason": answer.reason,
            "todo": answer.todo,
            "last_answer": last_answers.get(answer.host),
            "state": answer.state,
        }
        for answer in answers
    ]


def _read_version(studio: StudioDirectory) -> str | None:
    """Return the version of NoSlop that made the last deployment; None if there is no record of one."""
    record = records.find_latest(studio.records, "deploy")
    return record and record[1].get("driver_version")


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


def _format_outcome(title: str, outcome: OutcomeData) -> Iterator[str]:
    status = "ok" if outcome["ok"] else "failed"
    message = f": {outcome['message']}" if outcome.get("message") else ""
    yield f"{title}: {status}, {outcome['finished']}{message} ({outcome['record']})"
    log = Path(outcome["record"], records.LOG)
    if log.exists():
        yield f"  log: {log}"
