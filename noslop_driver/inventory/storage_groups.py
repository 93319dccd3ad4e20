# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exchange the storage server and one of the other hosts in the groups of an inventory, and leave all else as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from noslop_driver.errors import UsageError
from noslop_driver.inventory import studio_yml
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.host_edit import explain_edit_error, parse_yaml, read_inventory_files
from noslop_driver.inventory.yaml_edit import EditError, find_last_line

SERVER, CLIENTS = "storage_server", "storage_clients"

Entry = tuple[yaml.Node, yaml.Node]
"""The nodes of a key and of its value."""


def plan_exchange(studio: StudioDirectory, old: str, new: str) -> dict[str, str]:
    """Return the new texts of the files that are changed, by their names: `new` serves, and `old` mounts.

    Raises:
        UsageError: a file cannot be changed without touching the rest of it, or has no entry for the old server.
    """
    by_hand = f"Put {new} into the group {SERVER} and {old} into {CLIENTS} there by hand"
    texts = read_inventory_files(studio)
    changes = {}
    for name, text in texts.items():
        try:
            changed = exchange(text, old, new)
        except EditError as error:
            raise explain_edit_error(studio, name, error, by_hand) from error
        if changed != text:
            changes[name] = changed
    merged = {**texts, **changes}
    if not any(_find(text, SERVER, new) for text in merged.values()):
        raise UsageError(f"{old} has no entry in the group {SERVER} of the YAML files of {studio.path}. {by_hand}.")
    if not any(_find(text, CLIENTS, old) for text in merged.values()):
        name, text = _choose_clients(merged)
        try:
            changes[name] = add_client(text, old)
        except EditError as error:
            raise explain_edit_error(studio, name, error, by_hand) from error
    return changes


def exchange(text: str, old: str, new: str) -> str:
    """Return an inventory in which `new` has the place of `old` in the group of the server, and the other way round.

    Each keeps its variables in the group.

    Raises:
        EditError: it has a form that is not changed.
    """
    server, client = _find(text, SERVER, old), _find(text, CLIENTS, new)
    if not server and not client:
        return text
    replacements: list[tuple[yaml.Node, str]] = []
    for entry, name in ((server, new), (client, old)):
        if entry is None:
            continue
        key, value = entry
        if not (isinstance(value, yaml.ScalarNode) and value.value in ("", "~", "null")) and not _is_empty(value):
            raise EditError(f"{key.value} has variables in the entry of its group: move them to its entry in all.hosts")
        replacements.append((key, studio_yml.format_value(name)))
    changed = text
    for key, name in sorted(replacements, key=lambda one: one[0].start_mark.index, reverse=True):
        changed = f"{changed[: key.start_mark.index]}{name}{changed[key.end_mark.index :]}"
    wanted = parse_yaml(text)
    for group, body in _list_groups(wanted):
        hosts = body.get("hosts")
        if isinstance(hosts, dict):
            rename = {old: new} if group == SERVER else {new: old} if group == CLIENTS else {}
            body["hosts"] = {rename.get(host, host): value for host, value in hosts.items()}
    if parse_yaml(changed) != wanted:
        raise EditError("the change would mean something else")
    return changed


def add_client(text: str, host: str) -> str:
    """Return an inventory with one more host, the last one, in the group of the clients.

    Raises:
        EditError: it has a form that is not changed.
    """
    for key, value in _list_hosts_nodes(text, CLIENTS):
        lines = text.splitlines(keepends=True)
        line = f"{studio_yml.format_value(host)}:\n"
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            lines.insert(find_last_line(value) + 1, f"{' ' * value.start_mark.column}{line}")
        elif isinstance(value, yaml.MappingNode) and not value.value and value.start_mark.line == key.start_mark.line:
            row = key.start_mark.line
            head, tail = lines[row][: value.start_mark.column], lines[row][value.end_mark.column :]
            lines[row] = f"{head.rstrip()}{tail}"
            lines.insert(row + 1, f"{' ' * (key.start_mark.column + 2)}{line}")
        else:
            raise EditError(f"the hosts of {CLIENTS} are no list with a host a line")
        changed = "".join(lines)
        wanted = parse_yaml(text)
        for group, body in _list_groups(wanted):
            if group == CLIENTS and isinstance(body.get("hosts"), dict):
                body["hosts"][host] = None
        if parse_yaml(changed) != wanted:
            raise EditError("the change would mean something else")
        return changed
    raise EditError(f"it has no group {CLIENTS} with hosts")


def _choose_clients(texts: dict[str, str]) -> tuple[str, str]:
    """Return the name and the text of the file in which a client is added: the first with that group, or the first."""
    first = next(iter(texts.items()))
    return next((one for one in texts.items() if _list_hosts_nodes(one[1], CLIENTS)), first)


def _find(text: str, group: str, host: str) -> Entry | None:
    """Return the entry of a host in a group; None if it has none."""
    for _key, hosts in _list_hosts_nodes(text, group):
        for key, value in hosts.value if isinstance(hosts, yaml.MappingNode) else ():
            if key.value == host:
                return key, value
    return None


def _list_hosts_nodes(text: str, group: str) -> list[Entry]:
    """Return key and value of each `hosts` of a group, wherever the group stands."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise EditError(f"it is no YAML: {error}") from error
    nodes: list[Entry] = []
    rest: list[Entry] = list(root.value) if isinstance(root, yaml.MappingNode) else []
    while rest:
        name, body = rest.pop(0)
        for key, value in body.value if isinstance(body, yaml.MappingNode) else ():
            if key.value == "hosts" and name.value == group:
                nodes.append((key, value))
            elif key.value == "children" and isinstance(value, yaml.MappingNode):
                rest += value.value
    return nodes


def _list_groups(groups: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and content of each group of a parsed inventory."""
    for name, body in groups.items() if isinstance(groups, dict) else ():
        if isinstance(body, dict):
            yield name, body
            yield from _list_groups(body.get("children"))


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and not node.value
