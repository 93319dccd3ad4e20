#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from the unit files which versions of the services run.

``ansible.builtin.slurp`` returns a unit file's text; which version it names is known to ``service_switch`` alone.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_versions
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Read which versions of Ollama and ComfyUI run
description:
  - Returns the version that the unit file of each service names. Needs no privileges.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Reads the same.
    support: full
options:
  wanted:
    description: Version that each service is to have on this host. Services that are not in it are not looked at.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Read which version of Ollama runs
  noslop.studio.service_versions:
    wanted:
      ollama: 0.32.7
"""

RETURN = r"""
service_versions:
  description: One entry for each service.
  type: list
  elements: dict
  returned: success
  contains:
    service:
      description: Name of the service.
      type: str
    runs:
      description: Version that its unit names; empty where it is not installed.
      type: str
    wanted:
      description: Version that it is to have.
      type: str
switched:
  description: Names of the services that run in another version than they are to have.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.services import versions


def main() -> None:
    """Return the versions."""
    module = AnsibleModule(
        argument_spec={"wanted": {"type": "dict", "required": True}},
        supports_check_mode=True,
    )
    unknown = sorted(set(module.params["wanted"]) - set(studio.SERVICES))
    if unknown:
        module.fail_json(msg=f"wanted: {', '.join(unknown)} is no service: {', '.join(studio.SERVICES)}")
    entries: list[dict[str, Any]] = [
        {"service": name, "runs": versions.read_version(name), "wanted": str(version)}
        for name, version in module.params["wanted"].items()
    ]
    switched = [entry["service"] for entry in entries if entry["runs"] not in ("", entry["wanted"])]
    module.exit_json(changed=False, service_versions=entries, switched=switched)


if __name__ == "__main__":
    main()
