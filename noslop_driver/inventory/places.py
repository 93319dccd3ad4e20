# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the YAML files of an inventory in which a host or a variable stands. What cannot be read has neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noslop_driver.inventory.names import list_yaml_files, read_yaml

_VARIABLE_DIRECTORIES = ("group_vars", "host_vars")


def find_host(inventory: Path, host: str) -> str | None:
    """Return the name of the first file of the inventory that has an entry of a host; None if none has."""
    return next((path.name for path in list_yaml_files(inventory) if _has_host(read_yaml(path), host)), None)


def find_variable(inventory: Path, variable: str) -> list[str]:
    """Return the files that set a variable, for all hosts or for some, by their names below the inventory."""
    inside = [
        path
        for directory in _VARIABLE_DIRECTORIES
        for top in (inventory / directory, *sorted((inventory / directory).glob("*/")))
        for path in list_yaml_files(top)
        # Ansible reads the directory of a group, and then not the file of the same name beside it.
        if not path.with_suffix("").is_dir() and isinstance(content := read_yaml(path), dict) and variable in content
    ]
    beside = [path for path in list_yaml_files(inventory) if _has_variable(read_yaml(path), variable)]
    return [str(path.relative_to(inventory)) for path in (*inside, *beside)]


def _has_host(value: Any, host: str) -> bool:  # noqa: ANN401 - any YAML
    if not isinstance(value, dict):
        return False
    hosts = value.get("hosts")
    return (isinstance(hosts, dict) and host in hosts) or any(_has_host(one, host) for one in value.values())


def _has_variable(value: Any, variable: str) -> bool:  # noqa: ANN401 - any YAML
    return isinstance(value, dict) and (
        variable in value or any(_has_variable(one, variable) for one in value.values())
    )
