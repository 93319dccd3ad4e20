# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the studio's custom nodes from its inventory and its last verification. Connects to no host."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.plugin_utils.validation import custom_nodes
from rich.markup import escape
from rich.table import Table

from noslop_driver import records
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult, NodeData, NodeListData
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal

CHECK = "services.comfyui_nodes"
"""The check of the verification that names the custom nodes which a host leaves out."""


def list_nodes(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Print each custom node of the list with its revision, its hosts, and where it was left out and why."""
    members = read_members(studio.path, options.user or getpass.getuser())
    results = _read_results(studio)
    nodes = _list_data(members, results)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("custom node", "revision", "hosts", "runs on", "left out on"):
        table.add_column(heading)
    for node in nodes:
        left_out = "\n".join(f"{host}: {reason}" for host, reason in node["left_out"].items())
        cells = (node["name"], node["revision"], ", ".join(node["hosts"]), ", ".join(node["runs_on"]), left_out)
        table.add_row(*map(escape, cells))
    if nodes:
        terminal.print_table(table)
    else:
        terminal.print("The studio's list of custom nodes is empty.")
    if nodes and not results:
        terminal.print("Where they run is not known before a verification: 'noslop-driver verify'.")
    data: NodeListData = {"inventory": str(studio.path), "nodes": nodes}
    return CommandResult(ExitCode.OK, data)


def _list_data(members: Sequence[Member], results: Mapping[str, str]) -> list[NodeData]:
    """Return the nodes of all lists of the inventory; `results` as _read_results returns them."""
    hosts: dict[custom_nodes.CustomNode, list[str]] = {}
    for member in members:
        if "comfyui" not in member.groups:
            continue
        try:
            nodes = custom_nodes.parse_custom_nodes(member.variables.get(custom_nodes.VARIABLE) or [])
        except ValueError as error:
            raise UsageError(f"{member.name}: {error}") from error
        for node in nodes:
            names = hosts.setdefault(node, [])
            names += [member.name] if node.is_for(member.name) else []
    return [_make_data(node, names, results) for node, names in hosts.items()]


def _make_data(node: custom_nodes.CustomNode, hosts: Sequence[str], results: Mapping[str, str]) -> NodeData:
    left_out = {
        host: part.removeprefix(node.name).strip()
        for host in hosts
        for part in results.get(host, "").split("; ")
        if part.startswith(f"{node.name} ")
    }
    return {
        "name": node.name,
        "source": node.repo or node.archive,
        "revision": node.commit or node.sha256,
        "hosts": list(hosts),
        "runs_on": [host for host in hosts if host in results and host not in left_out],
        "left_out": left_out,
    }


def _read_results(studio: StudioDirectory) -> dict[str, str]:
    """Return what the last verification observed of the custom nodes on each host: empty where none failed."""
    record = records.find_latest(studio.records, having="verification.json")
    if record is None:
        return {}
    report = json.loads((record[0] / "verification.json").read_text(encoding="utf-8"))
    checks = [check for check in report.get("checks", []) if check.get("check") == CHECK]
    return {check["host"]: "" if check["ok"] else str(check["seen"]) for check in checks}
