# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a studio as its inventory and its records tell it. Asks no host and changes nothing."""

from __future__ import annotations

import getpass
import json
from typing import Any

from rich.markup import escape
from rich.table import Table

from noslop_driver import records
from noslop_driver.ansible.runner import list_inventory
from noslop_driver.cli.session import Options, studio_directory
from noslop_driver.commands.result import Answer, service_addresses
from noslop_driver.errors import ExitCode
from noslop_driver.inventory import directory
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.render import GROUPS
from noslop_driver.output.terminal import Terminal


def status(options: Options, terminal: Terminal) -> Answer:
    """Say which hosts do what, where the services answer, and how the last deployment and verification ended."""
    studio = studio_directory(options, must_exist=True)
    members = directory.members(list_inventory(studio.path), options.user or getpass.getuser())
    addresses = service_addresses(members)
    last = {name: _last(studio, name) for name in ("deploy", "teardown")}
    proof = _last_proof(studio)
    edited = [name for name in (directory.HOSTS, directory.STUDIO, directory.CONNECTION) if studio.is_edited(name)]

    table = Table(title=f"Studio {studio.name}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("host", "address", "does", "open"):
        table.add_column(heading)
    for member in members:
        does = ", ".join(group for group in GROUPS if group in member.groups)
        urls = "\n".join(address["url"] for address in addresses if address["host"] == member.name)
        table.add_row(escape(member.name), escape(member.studio_address), does or "nothing", escape(urls))
    terminal.out.print(table)
    for name, found in last.items():
        if found:
            terminal.say(_line(f"last {name}", found))
    terminal.say(_line("last verification", proof) if proof else "last verification: none yet")
    if edited:
        terminal.say(f"edited by hand: {', '.join(edited)}")
    data = {
        "inventory": str(studio.path),
        "hosts": [
            {"name": member.name, "address": member.studio_address, "groups": sorted(member.groups)}
            for member in members
        ],
        "addresses": addresses,
        "last_deployment": last["deploy"],
        "last_teardown": last["teardown"],
        "last_verification": proof,
        "edited": edited,
    }
    return Answer(ExitCode.OK, data)


def _last(studio: StudioDirectory, command: str) -> dict[str, Any] | None:
    found = records.latest(studio.records, command)
    if found is None:
        return None
    path, outcome = found
    shown = ("ok", "exit_code", "message", "started", "finished")
    return {**{name: outcome.get(name) for name in shown}, "record": str(path)}


def _last_proof(studio: StudioDirectory) -> dict[str, Any] | None:
    found = records.latest(studio.records, having="verification.json")
    if found is None:
        return None
    path, _outcome = found
    report = json.loads((path / "verification.json").read_text(encoding="utf-8"))
    checks = report.get("checks", [])
    failed = sum(not check.get("ok") for check in checks)
    return {
        "ok": report.get("ok"),
        "finished": report.get("finished"),
        "message": f"{len(checks)} checks, {failed} failed",
        "record": str(path),
    }


def _line(what: str, found: dict[str, Any]) -> str:
    how = "ok" if found["ok"] else "failed"
    message = f": {found['message']}" if found.get("message") else ""
    return f"{what}: {how}, {found['finished']}{message} ({found['record']})"
