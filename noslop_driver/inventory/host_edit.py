# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the entry of one host in the YAML files of an inventory, and leave every other character of them as it is.

The functions on texts are pure. Each compares what the new text means with what it should mean, so a form that they
do not expect is an error, and no damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from noslop_driver.errors import UsageError
from noslop_driver.inventory import studio_yml
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.yaml_edit import EditError, find_last_line

_SUFFIXES = (".yml", ".yaml", ".json")

Entry = tuple[yaml.Node, yaml.Node]
"""The nodes of a key and of its value."""


def remove_host(text: str, host: str) -> str:
    """Return an inventory without the entries of a host, in every group. Comments above them stay.

    Raises:
        EditError: it has a form that is not changed.
    """
    lines = text.splitlines(keepends=True)
    for hosts_key, hosts in reversed(list(_list_host_mappings(_compose(text)))):
        entries = [(key, value) for key, value in hosts.value if key.value == host]
        if not entries:
            continue
        if hosts.flow_style:
            raise EditError(f"{host} stands in a list in brackets")
        ((key, value),) = entries
        first = key.start_mark.line
        del lines[first : max(first, find_last_line(value)) + 1]
        if len(hosts.value) == 1:
            line, column = hosts_key.end_mark.line, hosts_key.end_mark.column + 1
            lines[line] = f"{lines[line][:column]} {{}}{lines[line][column:]}"
    return _checked("".join(lines), text, lambda group: _drop_host(group, host))


def set_variable(text: str, host: str, name: str, value: object) -> str | None:
    """Return an inventory with another value for a variable that a host's entry has; None if no entry has it.

    Raises:
        EditError: it has a form that is not changed.
    """
    for entry in _find_entries(text, host):
        if node := _find_value(entry[1], name):
            new = _replace_scalar(text, node, value)
            return _checked(new, text, lambda group: _set_in_group(group, host, name, value, new=False))
    return None


def add_variable(text: str, host: str, name: str, value: object) -> str | None:
    """Return an inventory with a variable more in the first entry of a host that has some; None if there is no such.

    Raises:
        EditError: it has a form that is not changed.
    """
    for key, variables in _find_entries(text, host):
        if isinstance(variables, yaml.MappingNode) and variables.value and not variables.flow_style:
            lines = text.splitlines(keepends=True)
            line = variables.start_mark.line
            indent = " " * variables.start_mark.column
            if line == key.start_mark.line:
                raise EditError(f"the variables of {host} stand behind its name")
            lines.insert(line, f"{indent}{name}: {studio_yml.format_value(value)}\n")
            return _checked("".join(lines), text, lambda group: _set_in_group(group, host, name, value, new=True))
    return None


def set_top_variable(text: str, name: str, value: object) -> str | None:
    """Return a file of `host_vars` with another value for a variable; None if it does not have the variable.

    Raises:
        EditError: it has a form that is not changed.
    """
    root = _compose(text)
    node = _find_value(root, name)
    if node is None:
        return None
    new = _replace_scalar(text, node, value)
    if parse_yaml(new) != {**parse_yaml(text), name: value}:
        raise EditError("the change would mean something else")
    return new


def plan_removal(studio: StudioDirectory, host: str) -> dict[str, str]:
    """Return the new texts of the files that have a host, by their names.

    Raises:
        UsageError: a file cannot be changed without touching the rest of it.
    """
    changes = {}
    for name, text in read_inventory_files(studio).items():
        try:
            if _find_entries(text, host):
                changes[name] = remove_host(text, host)
        except EditError as error:
            raise explain_edit_error(studio, name, error, f"Remove {host} from it by hand") from error
    if not changes:
        raise UsageError(
            f"{host} has no entry of its own in the YAML files of {studio.path}. Remove it there by hand, and deploy."
        )
    return changes


def plan_variables(studio: StudioDirectory, host: str, values: Mapping[str, object]) -> dict[str, str]:
    """Return the new texts of the files that are changed to give a host's variables other values, by their names.

    A variable is changed where the host's own files or its entry have it; one that neither has goes into its entry.

    Raises:
        UsageError: a file cannot be changed without touching the rest of it, or has no entry for the host.
    """
    own = _read_own_files(studio, host)
    texts = {**own, **read_inventory_files(studio)}
    changes: dict[str, str] = {}
    for variable, value in values.items():
        name, new = _change_variable({**texts, **changes}, own, host, (variable, value), studio)
        if new != texts[name]:
            changes[name] = new
    return changes


def _change_variable(
    texts: Mapping[str, str], own: Mapping[str, str], host: str, change: tuple[str, object], studio: StudioDirectory
) -> tuple[str, str]:
    """Return the name and the new text of the file in which a variable is changed, or added."""
    variable, value = change
    by_hand = f"Write {variable}: {studio_yml.format_value(value)} for {host} there"
    for name, text in texts.items():
        try:
            new = set_top_variable(text, variable, value) if name in own else set_variable(text, host, variable, value)
        except EditError as error:
            raise explain_edit_error(studio, name, error, by_hand) from error
        if new is not None:
            return name, new
    for name, text in texts.items():
        try:
            new = None if name in own else add_variable(text, host, variable, value)
        except EditError as error:
            raise explain_edit_error(studio, name, error, by_hand) from error
        if new is not None:
            return name, new
    raise UsageError(f"{host} has no entry with variables in the YAML files of {studio.path}. {by_hand} by hand.")


def explain_edit_error(studio: StudioDirectory, name: str, error: EditError, by_hand: str) -> UsageError:
    """Return the error of a file that is not changed, with what to do by hand."""
    return UsageError(f"{studio.path / name} was not changed, since {error}. {by_hand}, and run this again.")


def read_inventory_files(studio: StudioDirectory) -> dict[str, str]:
    """Return the texts of the YAML files that Ansible reads as inventory, by their names."""
    paths = sorted(studio.path.iterdir()) if studio.path.is_dir() else []
    return {path.name: path.read_text(encoding="utf-8") for path in paths if _is_yaml_file(path)}


def _read_own_files(studio: StudioDirectory, host: str) -> dict[str, str]:
    """Return the texts of the files in `host_vars` for one host, by their names below the studio's directory."""
    directory = studio.path / "host_vars"
    inside = sorted((directory / host).iterdir()) if (directory / host).is_dir() else []
    paths = [*(directory / f"{host}{suffix}" for suffix in _SUFFIXES), *inside]
    return {
        str(path.relative_to(studio.path)): path.read_text(encoding="utf-8") for path in paths if _is_yaml_file(path)
    }


def _is_yaml_file(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not path.name.startswith(".") and path.is_file()


def _compose(text: str) -> yaml.Node:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise EditError(f"it is no YAML: {error}") from error
    return root or yaml.MappingNode("tag:yaml.org,2002:map", [])


def _list_host_mappings(root: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.MappingNode]]:
    """Yield the key and the value of each `hosts` of an inventory's groups, in the order of the text."""
    for _group, body in _list_entries(root):
        for key, value in _list_entries(body):
            if key.value == "hosts" and isinstance(value, yaml.MappingNode):
                yield key, value
            elif key.value == "children":
                yield from _list_host_mappings(value)


def _list_entries(node: yaml.Node) -> list[Entry]:
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _find_entries(text: str, host: str) -> list[Entry]:
    """Return the entries of a host, in the order of the text."""
    mappings = _list_host_mappings(_compose(text))
    return [(key, value) for _key, hosts in mappings for key, value in _list_entries(hosts) if key.value == host]


def _find_value(node: yaml.Node, name: str) -> yaml.Node | None:
    return next((value for key, value in _list_entries(node) if key.value == name), None)


def _replace_scalar(text: str, node: yaml.Node, value: object) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.start_mark.line != node.end_mark.line:
        raise EditError("the value stands on several lines")
    if not node.value:
        raise EditError("the value is empty")
    return f"{text[: node.start_mark.index]}{studio_yml.format_value(value)}{text[node.end_mark.index :]}"


def _checked(new: str, old: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Return the new text, if it means what `change` makes of each group of the old one."""
    wanted = parse_yaml(old)
    for group in _list_groups(wanted):
        change(group)
    if parse_yaml(new) != wanted:
        raise EditError("the change would mean something else")
    return new


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML
    """Return what an inventory means, with each alias as a value of its own.

    Raises:
        EditError: it has a form that is not read here.
    """
    try:
        return _unshare(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise EditError(f"it has a form that is not read here: {error}") from error


def _unshare(value: object) -> object:
    """Return a copy in which an alias is a value of its own, so that a change of what two hosts share is noticed."""
    if isinstance(value, dict):
        return {key: _unshare(one) for key, one in value.items()}
    return [_unshare(one) for one in value] if isinstance(value, list) else value


def _list_groups(groups: object) -> Iterator[dict[str, Any]]:
    for group in groups.values() if isinstance(groups, dict) else ():
        if isinstance(group, dict):
            yield group
            yield from _list_groups(group.get("children"))


def _drop_host(group: dict[str, Any], host: str) -> None:
    if isinstance(group.get("hosts"), dict):
        group["hosts"].pop(host, None)


def _set_in_group(group: dict[str, Any], host: str, name: str, value: object, *, new: bool) -> None:
    """Set a variable in a group's entry of a host, if that has the variable; with `new`, if it has others."""
    entry = (group.get("hosts") or {}).get(host)
    if isinstance(entry, dict) and (name in entry or (new and entry)):
        entry[name] = value
