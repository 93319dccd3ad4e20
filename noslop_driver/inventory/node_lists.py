# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit the studio's list of custom nodes, and keep the earlier lists in `.noslop/nodes/` for the way back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from noslop_driver.errors import UsageError
from noslop_driver.secrets import write_private

NodeEntry = dict[str, str | bool | list[str]]
"""An entry of `noslop_custom_nodes`, with the keys that plugin_utils/validation/custom_nodes.py lists."""

KEPT_LISTS = 10
"""The number of earlier lists that are kept."""

_SOURCE_KEYS = ("repo", "commit", "archive", "sha256")


def add_node(nodes: Sequence[NodeEntry], entry: NodeEntry) -> list[NodeEntry]:
    """Return the list with an entry more, or with another source for the node of that name.

    The hosts and permissions of an entry that is in the list already stay, unless the new one has its own.
    """
    if _get_node(nodes, entry["name"]) is None:
        return [*nodes, entry]
    return [
        {**{key: value for key, value in node.items() if key not in _SOURCE_KEYS}, **entry}
        if node["name"] == entry["name"]
        else node
        for node in nodes
    ]


def remove_node(nodes: Sequence[NodeEntry], name: str) -> list[NodeEntry]:
    """Return the list without a node.

    Raises:
        UsageError: no node has this name.
    """
    if _get_node(nodes, name) is None:
        names = ", ".join(str(node["name"]) for node in nodes) or "none"
        raise UsageError(f"{name} is not in the studio's list of custom nodes. In the list: {names}.")
    return [node for node in nodes if node["name"] != name]


class NodeHistory:
    """The earlier lists of a studio, one file each, the newest with the highest number."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "nodes"

    def save(self, nodes: Sequence[NodeEntry]) -> Path:
        """Write a list as the newest earlier one, remove the oldest, and return the path."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        paths = self._list_paths()
        path = self._directory / f"{int(paths[-1].stem) + 1 if paths else 1:06}.json"
        write_private(path, json.dumps(nodes, indent=2) + "\n")
        for old in [*paths, path][:-KEPT_LISTS]:
            old.unlink()
        return path

    def restore(self, nodes: Sequence[NodeEntry], name: str | None = None) -> list[NodeEntry]:
        """Return the list before `nodes`; with `name`, `nodes` with the entry that this node had before.

        Raises:
            UsageError: there is no other list, or none with another entry for the node.
        """
        for path in reversed(self._list_paths()):
            earlier: list[NodeEntry] = json.loads(path.read_text(encoding="utf-8"))
            if name is None and earlier != nodes:
                return earlier
            if name is not None and (node := _get_node(earlier, name)) != _get_node(nodes, name):
                others = [other for other in nodes if other["name"] != name]
                if node is None:
                    return others
                return (
                    [node if other["name"] == name else other for other in nodes] if others != nodes else [*nodes, node]
                )
        what = f"entry for {name}" if name else "list of custom nodes"
        raise UsageError(f"There is no earlier {what} to go back to. Nothing was changed.")

    def _list_paths(self) -> list[Path]:
        return sorted(self._directory.glob("[0-9]*.json"))


def _get_node(nodes: Sequence[NodeEntry], name: object) -> NodeEntry | None:
    return next((node for node in nodes if node["name"] == name), None)
