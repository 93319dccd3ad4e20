# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List names of an inventory by reading its YAML files alone, for the completion of a shell, which must not wait.

Ansible would know more: inventories in other formats, plugins, and templates. What cannot be read has no names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import custom_nodes, models

_SUFFIXES = (".yml", ".yaml")


class _Loader(yaml.SafeLoader):
    """A loader that reads a value with a tag of Ansible's, such as `!vault`, as nothing."""


_Loader.add_multi_constructor("!", lambda *_: None)


def list_hosts(inventory: Path) -> list[str]:
    """Return the names of the hosts."""
    names: dict[str, None] = {}
    for path in list_yaml_files(inventory):
        rest = [read_yaml(path)]
        while rest:
            value = rest.pop()
            if isinstance(value, dict):
                hosts = value.get("hosts")
                names.update(dict.fromkeys(map(str, hosts)) if isinstance(hosts, dict) else {})
                rest += value.values()
    return sorted(names)


def list_models(inventory: Path) -> list[str]:
    """Return the names of the models in the catalogue."""
    names = []
    for entry in _list_entries(inventory, "noslop_models"):
        try:
            names += [model.name for model in models.parse_models([entry])]
        except ValueError:
            continue  # plan and preflight report it
    return sorted(names)


def list_nodes(inventory: Path) -> list[str]:
    """Return the names of the custom nodes in the list."""
    entries = _list_entries(inventory, custom_nodes.VARIABLE)
    return sorted(str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry)


def _list_entries(inventory: Path, variable: str) -> Iterator[Any]:
    """Yield the entries of a list that is a variable of all hosts."""
    directory = inventory / "group_vars"
    for path in [*(directory / f"all{suffix}" for suffix in _SUFFIXES), *list_yaml_files(directory / "all")]:
        value = read_yaml(path)
        entries = value.get(variable) if isinstance(value, dict) else None
        yield from entries if isinstance(entries, list) else ()


def list_yaml_files(directory: Path) -> list[Path]:
    """Return the YAML files of a directory in the order of their names; none where it cannot be read."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES)
    except OSError:
        return []


def read_yaml(path: Path) -> Any:  # noqa: ANN401 - a file may hold anything
    """Return the content of a YAML file, in which values with a tag of Ansible's are None; None for what is no YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - it is a SafeLoader
    except (OSError, ValueError, yaml.YAMLError):
        return None
