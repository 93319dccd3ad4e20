# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the variables that the collection reads, from the argument specifications of its roles."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.noslop.studio.plugins.module_utils import studio

_ROLES = Path(__file__).parents[3] / "roles"


def list_declared_variables() -> tuple[set[str], set[str]]:
    """Return every variable that the collection reads, and the prefixes of its names."""
    declared = {*studio.DEFAULTS, *studio.HOST_VARIABLES, *studio.RUN_VARIABLES}
    prefixes = {"noslop_"}
    for file in sorted(_ROLES.glob("*/meta/argument_specs.yml")):
        prefixes.add(f"{file.parents[1].name}_")
        specification = yaml.safe_load(file.read_text(encoding="utf-8"))
        for entry_point in specification["argument_specs"].values():
            declared.update(entry_point.get("options") or {})
    return declared, prefixes
