#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a version of Ollama or ComfyUI, and go back to the version before where it does not work.

With ordinary modules this is a template, a restart, a wait, a dozen requests and a rescue block for each of them. An
interrupted run would leave a version that nothing has proven, and the next run would find nothing to do.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_switch
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Run a version of a service, and go back to the version before where it does not work
description:
  - Writes a unit, enables and starts it, restarts it where something changed, and waits until it answers.
  - Where the unit names another program or other packages than before, the new version has to prove that it works. It
    answers and lists the models that were listed before. ComfyUI imports the custom nodes that were imported before,
    and runs a workflow without models to its image.
  - Where it does not, the unit before is put back and started, and the task fails with the reason and the end of the
    journal. The programs and packages of both versions stay where they are.
  - Before the switch the user directory is copied to C(copies) below C(state_directory), of which the last three stay.
    The database is copied for the new version, so that the version before keeps its own.
  - The next run finds a switch that was interrupted, and ends it.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Returns whether the unit would change, and the version that would be left. Starts nothing.
    support: full
  diff_mode:
    description: Shows the unit file before and after.
    support: full
options:
  name:
    description: Name of the unit, with its suffix.
    type: str
    required: true
  service:
    description: The service, which decides how it is proven.
    type: str
    choices: [comfyui, ollama]
    required: true
  content:
    description: Text of the unit file.
    type: str
    required: true
  base:
    description: Directory of the version directories, in which C(current) and C(previous) are links to those in use.
    type: path
    required: true
  version:
    description: Name of the version directory.
    type: str
    required: true
  url:
    description: URL to request. Any status below 400 counts as an answer.
    type: str
    required: true
  restart:
    description: Whether something that the unit reads has changed.
    type: bool
    default: false
  account:
    description: Account that owns C(state_directory).
    type: str
  state_directory:
    description: Directory with the user directory C(user). Nothing is copied without it.
    type: path
  timeout_s:
    description: Seconds until it must answer.
    type: int
    default: 180
  proof_timeout_s:
    description: Seconds that the proof may take after that.
    type: int
    default: 180
  busy_timeout_s:
    description: Seconds to wait before a switch until no workflow runs or waits. With 0 they are lost.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Run Ollama
  noslop.studio.service_switch:
    name: noslop-ollama.service
    service: ollama
    content: "{{ lookup('ansible.builtin.template', 'noslop-ollama.service.j2') }}"
    base: /opt/noslop/ollama
    version: 0.32.7
    url: http://127.0.0.1:11434/api/version
"""

RETURN = r"""
actions:
  description: Actions that were done.
  type: list
  elements: str
  returned: success
  sample: [daemon-reload, enable, restart]
switched_from:
  description: Version that ran before, where another one runs now; the same where only its packages are others.
  type: str
  returned: success
copy:
  description: Path of the copy of the user directory, where one was made.
  type: str
  returned: success
"""

import os
import signal
import urllib.parse
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.install import builds
from ansible_collections.noslop.studio.plugins.module_utils.services import proof
from ansible_collections.noslop.studio.plugins.module_utils.services.switch import Interrupted, Request, Switch
from ansible_collections.noslop.studio.plugins.module_utils.services.web_unit import ServiceError, WebUnit

#: Of records of switches that are not proven. Only root enters it.
RECORDS = os.path.join(studio.STATE_DIR, "switches")


def main() -> None:
    """Run the version."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "service": {"type": "str", "required": True, "choices": ["comfyui", "ollama"]},
            "content": {"type": "str", "required": True},
            "base": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "restart": {"type": "bool", "default": False},
            "account": {"type": "str"},
            "state_directory": {"type": "path"},
            "timeout_s": {"type": "int", "default": 180},
            "proof_timeout_s": {"type": "int", "default": 180},
            "busy_timeout_s": {"type": "int", "default": 600},
        },
        required_together=[("account", "state_directory")],
        supports_check_mode=True,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = _run(module)
    except ServiceError as error:
        module.fail_json(msg=str(error))
    except Interrupted:
        module.fail_json(msg=f"{module.params['name']}: the run was told to end. Run again to go on.")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['name']}: {error.strerror or error}")
    module.exit_json(**result)


def _run(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    unit = WebUnit(module, params["name"], params["url"], params["timeout_s"])
    url = urllib.parse.urlsplit(params["url"])
    request = Request(
        title=studio.SERVICES[params["service"]].title,
        content=params["content"],
        base=params["base"],
        version=params["version"],
        state_directory=params["state_directory"] or "",
        account=builds.find_account(params["account"]) if params["account"] else None,
        proof_timeout_s=params["proof_timeout_s"],
        busy_timeout_s=params["busy_timeout_s"],
    )
    asked = proof.PROOFS[params["service"]](str(url.hostname), url.port or 80)
    result = Switch(unit, request, asked, RECORDS).run(params["restart"])
    answer: dict[str, Any] = {
        "changed": result.changed,
        "actions": unit.actions,
        "switched_from": result.switched_from,
        "copy": result.copy,
    }
    if result.before != result.after:
        names = {"before_header": unit.unit_file, "after_header": unit.unit_file}
        answer["diff"] = {**names, "before": result.before, "after": result.after}
    return answer


def _interrupt(number: int, frame: Any) -> None:
    del number, frame
    raise Interrupted


if __name__ == "__main__":
    main()
