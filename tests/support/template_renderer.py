# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render templates of roles with the roles' own defaults: requests are lines of JSON on stdin, answers on stdout.

A separate program, because Ansible's loader of collections and the tests' imports of them exclude each other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

COLLECTIONS = Path(__file__).parents[2] / "collections"
ROLES = COLLECTIONS / "ansible_collections" / "noslop" / "studio" / "roles"


def render(template: str, variables: dict[str, Any]) -> str:
    """Render ``ROLE/templates/NAME`` with the role's defaults, and these variables over them."""
    loader = DataLoader()
    role = ROLES / Path(template).parts[0]
    available: dict[str, Any] = {}
    for part in ("defaults", "vars"):
        path = role / part / "main.yml"
        if path.exists():
            available |= loader.load_from_file(str(path), trusted_as_template=True)
    available |= variables
    templar = Templar(loader, variables=available).copy_with_new_env(
        searchpath=[str(role / "templates")], available_variables=available
    )
    text = trust_as_template((ROLES / template).read_text())
    return str(templar.template(text, escape_backslashes=False, overrides={"trim_blocks": True}))


def main() -> None:
    """Answer requests until the end of the input."""
    init_plugin_loader([str(COLLECTIONS)])
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(render(request["template"], request["variables"])), flush=True)


if __name__ == "__main__":
    main()
