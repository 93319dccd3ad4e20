#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the settings of programs that are about to be adopted.

Ordinary modules return neither the environment that a unit has with its drop-ins and files, nor a part of it without
the secrets beside it, and they read a user's files as root, wherever a link leads.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: existing_settings
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the settings of programs that are about to be adopted
description:
  - Reads the environment of units as systemd applies it, with drop-ins and environment files. Values are returned for
    the names of O(reveal) only, since others may be secret; of these the names are returned.
  - An environment file that an account other than root can change is not read, but named.
  - Reads files of users as the account that owns the first directory above them that is not root's.
extends_documentation_fragment:
  - noslop.studio.attributes.reads
options:
  units:
    description: Service units, which need not exist.
    type: list
    elements: str
    default: []
  reveal:
    description: Names of environment variables whose values are returned.
    type: list
    elements: str
    default: []
  files:
    description: Files of users, which need not exist.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Read how the vendor's Ollama is set up
  noslop.studio.existing_settings:
    units: [ollama.service]
    reveal: [OLLAMA_MODELS, OLLAMA_KEEP_ALIVE]
"""

RETURN = r"""
units:
  description: The units that exist.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the unit.
      type: str
    user:
      description: Account that runs it.
      type: str
    home:
      description: Home directory of that account, or what the unit sets in its place.
      type: str
    sources:
      description: Files that the settings were read from.
      type: list
      elements: str
    environment:
      description: The revealed variables.
      type: dict
    hidden:
      description: Names of the other variables.
      type: list
      elements: str
    unread:
      description: A sentence for each file that was not read.
      type: list
      elements: str
files:
  description: The files that exist, each with C(path), C(text) and C(problem), which is empty where it could be read.
  type: list
  elements: dict
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.adopt import existing_settings


def main() -> None:
    """Return the settings."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "reveal": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )

    def run(words: list[str]) -> tuple[int, str, str]:
        try:
            code, out, err = module.run_command(words, handle_exceptions=False)
        except OSError as error:  # a host without systemd has no units
            return 127, "", str(error)
        return int(code), str(out), str(err)

    read = [existing_settings.read_unit(run, name) for name in module.params["units"]]
    files = [_read_file(path) for path in module.params["files"]]
    module.exit_json(
        changed=False,
        units=[_describe(unit, module.params["reveal"]) for unit in read if unit is not None],
        files=[file for file in files if file is not None],
    )


def _describe(unit: existing_settings.UnitSettings, reveal: list[str]) -> dict[str, Any]:
    return {
        "name": unit.name,
        "user": unit.user,
        "home": unit.home,
        "sources": unit.sources,
        "environment": {name: value for name, value in unit.environment.items() if name in reveal},
        "hidden": sorted(set(unit.environment) - set(reveal)),
        "unread": unit.unread,
    }


def _read_file(path: str) -> dict[str, str] | None:
    try:
        text = existing_settings.read_as_owner(path)
    except OSError as error:
        return {"path": path, "text": "", "problem": str(error.strerror or error)}
    return None if text is None else {"path": path, "text": text, "problem": ""}


if __name__ == "__main__":
    main()
