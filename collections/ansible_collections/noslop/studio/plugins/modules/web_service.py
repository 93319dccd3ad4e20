#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start or restart a systemd service, and wait until it answers over HTTP.

A handler's restart is lost with an interrupted run: the next run finds the files unchanged and leaves the old program
running. Three ordinary tasks are three round trips, and report no journal when the service does not answer.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: web_service
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Start or restart a systemd service, and wait until it answers over HTTP
description:
  - Enables a unit, starts it, restarts it where its unit file or its program changed, and waits until it answers. One
    call replaces a reload, a start, a handler and a wait.
  - The next run makes up for a restart that an interrupted run did not make.
  - When it does not answer, the error contains its state, the last lines of its journal, and other listeners on the
    port.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Returns what would be done. A unit that is not written yet counts as one to start.
    support: full
options:
  name:
    description: Name of the unit, with its suffix.
    type: str
    required: true
  url:
    description: URL to request. Any status below 400 counts as an answer.
    type: str
  restart:
    description: Whether the program or its configuration has changed.
    type: bool
    default: false
  timeout_s:
    description: Seconds until it must answer.
    type: int
    default: 180
  state:
    description: Desired state. C(absent) stops and disables it, and removes its unit file when NoSlop wrote it.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Run Ollama
  noslop.studio.web_service:
    name: noslop-ollama.service
    url: http://127.0.0.1:11434/api/version
    restart: "{{ tree.changed or unit.changed }}"
"""

RETURN = r"""
actions:
  description: Actions that were done, or would be.
  type: list
  elements: str
  returned: success
  sample: [daemon-reload, enable, restart]
kept:
  description: With C(state=absent), a unit file that stays because NoSlop did not write it.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.services.web_unit import ServiceError, WebUnit


def main() -> None:
    """Start the service, or remove it."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "url": {"type": "str"},
            "restart": {"type": "bool", "default": False},
            "timeout_s": {"type": "int", "default": 180},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("url",))],
        supports_check_mode=True,
    )
    unit = WebUnit(module, module.params["name"], module.params["url"] or "", module.params["timeout_s"])
    kept: list[str] = []
    try:
        if module.params["state"] == "absent":
            kept = unit.remove()
        else:
            unit.ensure_running(module.params["restart"])
    except ServiceError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or unit.name}: {error.strerror or error}")
    module.exit_json(changed=bool(unit.actions), actions=unit.actions, kept=kept)


if __name__ == "__main__":
    main()
