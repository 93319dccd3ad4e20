# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the studio's custom nodes from its inventory and its last verification. Connects to no host."""

from __future__ import annotations

import getpass
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.plugin_utils.validation import custom_nodes
from rich.markup import escape
from rich.table import Table

from noslop_driver import records
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult, NodeData, NodeListData, OtherNodeData
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal

CHECK = "services.comfyui_nodes"
"""The check of the verification that names the custom nodes which a host leaves out."""


def list_nodes(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Print each custom node of the list with its revision, its hosts, and where it was left out and why.

    After them, the custom nodes on the share that NoSlop did not install.
    """
    members = read_members(studio.path, options.user or getpass.getuser())
    verified = read_verified_nodes(studio)
    nodes = _list_data(members, verified)
    others = _list_others(verified)
    rows = [
        (
            node["name"],
            node["revision"],
            ", ".join(node["hosts"]),
            ", ".join(node["runs_on"]),
            "\n".join(f"{host}: {reason}" for host, reason in node["left_out"].items()),
        )
        for node in nodes
    ]
    if rows:
        _print_table(("custom node", "revision", "hosts", "runs on", "left out on"), rows, terminal)
    else:
        terminal.print("The studio's list of custom nodes is empty.")
    if not verified:
        terminal.print("Where they run, and which others there are, is known after 'noslop-driver verify'.")
    if others:
        _print_others(others, terminal)
    data: NodeListData = {"inventory": str(studio.path), "nodes": nodes, "others": others}
    return CommandResult(ExitCode.OK, data)


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*map(escape, row))
    terminal.print_table(table)


def _print_others(others: Sequence[OtherNodeData], terminal: Terminal) -> None:
    rows = [(node["name"], node["commit"], node["version"], node["repo"]) for node in others]
    _print_table(("not in the list", "commit", "version", "repository"), rows, terminal)
    terminal.print("They run as before. To have one installed by the list, move its directory away, and run:")
    for node in others:
        if node["repo"] and node["commit"]:
            words = ["noslop-driver", "nodes", "add", node["name"], "--repo", node["repo"], "--commit", node["commit"]]
            terminal.print(f"  {shlex.join(words)}")


def _list_data(members: Sequence[Member], verified: Mapping[str, Mapping[str, Any]]) -> list[NodeData]:
    """Return the nodes of all lists of the inventory; `verified` as read_verified_nodes returns it."""
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
    return [_make_data(node, names, verified) for node, names in hosts.items()]


def _make_data(
    node: custom_nodes.CustomNode, hosts: Sequence[str], verified: Mapping[str, Mapping[str, Any]]
) -> NodeData:
    left_out = {
        host: str(verified[host]["left_out"][node.name])
        for host in hosts
        if host in verified and node.name in verified[host]["left_out"]
    }
    return {
        "name": node.name,
        "source": node.repo or node.archive,
        "revision": node.commit or node.sha256,
        "hosts": list(hosts),
        "runs_on": [host for host in hosts if host in verified and host not in left_out],
        "left_out": left_out,
    }


def _list_others(verified: Mapping[str, Mapping[str, Any]]) -> list[OtherNodeData]:
    """Return the nodes of others, each once: all hosts see the same share."""
    entries = {str(entry["name"]): entry for details in verified.values() for entry in details["others"]}
    return [
        {
            "name": name,
            "repo": str(entry["repo"]),
            "commit": str(entry["commit"]),
            "version": str(entry["version"]),
        }
        for name, entry in sorted(entries.items())
    ]


def read_verified_nodes(studio: StudioDirectory) -> dict[str, Mapping[str, Any]]:
    """Return what the last verification found of the custom nodes on each host: `left_out` and `others`."""
    record = records.find_latest(studio.records, having="verification.json")
    if record is None:
        return {}
    report = json.loads((record[0] / "verification.json").read_text(encoding="utf-8"))
    return {
        check["host"]: check["details"]
        for check in report.get("checks", [])
        if check.get("check") == CHECK and "details" in check
    }
