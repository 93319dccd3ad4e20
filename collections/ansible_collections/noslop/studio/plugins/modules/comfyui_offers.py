#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a host's ComfyUI which of some node classes and model files it offers.

``ansible.builtin.uri`` brings ``/object_info`` to the controller as a whole, which is several megabytes for each host,
or needs a connection for each class and folder. This module asks on the host, and returns what was asked for.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: comfyui_offers
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Ask ComfyUI which node classes and model files it offers
description:
  - Asks the ComfyUI of the host for its node classes and its lists of model files, and returns those of a workflow.
  - Needs no privileges.
extends_documentation_fragment:
  - noslop.studio.attributes.reads
options:
  address:
    description: Address that ComfyUI listens on.
    type: str
    default: 127.0.0.1
  port:
    description: Port of ComfyUI.
    type: int
    default: 8188
  classes:
    description: Names of node classes.
    type: list
    elements: str
    default: []
  files:
    description: Names of model files, each with its directory below its folder.
    type: list
    elements: str
    default: []
  expected:
    description:
      - Files that were just fetched, each with its folder in front.
      - A host lists what another one wrote after some seconds. The module waits for that, O(timeout) for each folder.
    type: list
    elements: str
    default: []
  timeout:
    description: How long to wait for O(expected), in seconds.
    type: float
    default: 20
"""

EXAMPLES = r"""
- name: Ask whether ComfyUI has the checkpoint of a workflow
  noslop.studio.comfyui_offers:
    classes: [CheckpointLoaderSimple, KSampler]
    files: [sd_xl_base_1.0.safetensors]
"""

RETURN = r"""
comfyui_offers:
  description: What ComfyUI offers.
  type: dict
  returned: success
  contains:
    version:
      description: Version of ComfyUI that runs.
      type: str
    classes:
      description:
        - The classes of O(classes) that ComfyUI has, with their inputs that choose a model's file.
        - Each input has the folders that have all of its choices.
        - An input without any choice has no folders.
      type: dict
    files:
      description: By folder, the files whose name is that of one of O(files), also in another directory of the folder.
      type: dict
    unreadable:
      description: By folder, why ComfyUI did not list it.
      type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import service_probe
from ansible_collections.noslop.studio.plugins.module_utils.models import offers

#: ComfyUI reads the directories of the models before it answers, which may be on a share that is slow.
TIMEOUT_S = 120.0


def main() -> None:
    """Return what ComfyUI offers."""
    strings: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": studio.SERVICES["comfyui"].port},
            "classes": strings,
            "files": strings,
            "expected": strings,
            "timeout": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    values = module.params

    def ask(path: str) -> Any:
        answer = service_probe.get_json(values["address"], values["port"], path, TIMEOUT_S)
        if answer.error:
            module.fail_json(
                msg=f"ComfyUI of this host cannot be asked: {answer.error}. See: systemctl status "
                f"{studio.SERVICES['comfyui'].unit}"
            )
        return answer.data

    stats, folders = ask("/system_stats"), ask("/models")
    system = stats.get("system") if isinstance(stats, dict) else None
    if not isinstance(system, dict) or not isinstance(folders, list):
        module.fail_json(msg=f"What answers on port {values['port']} of {values['address']} is no ComfyUI.")
        return
    listings: dict[str, list[str]] = {}
    unreadable: dict[str, str] = {}
    for folder in map(str, folders):
        answer = _list_files(values, folder)
        if answer.error:
            unreadable[folder] = answer.error
        elif isinstance(answer.data, list):
            listings[folder] = [str(name) for name in answer.data]
    # After the lists: a class offers what was listed when it is described.
    info = ask("/object_info")
    module.exit_json(
        changed=False,
        comfyui_offers={
            "version": str(system.get("comfyui_version") or ""),
            "classes": offers.select_classes(info, listings, values["classes"]),
            "files": offers.select_files(listings, values["files"]),
            "unreadable": unreadable,
        },
    )


def _list_files(values: Mapping[str, Any], folder: str) -> service_probe.Answer:
    """Return ComfyUI's list of a folder, once the expected files are in it or the time is over."""
    prefix = f"{folder}/"
    awaited = [path[len(prefix) :] for path in values["expected"] if path.startswith(prefix)]

    def ask() -> service_probe.Answer:
        return service_probe.get_json(values["address"], values["port"], service_probe.folder_path(folder), TIMEOUT_S)

    def is_enough(listed: Any) -> bool:
        return not service_probe.find_missing(awaited, listed)

    return service_probe.wait_for(ask, is_enough, values["timeout"] if awaited else 0.0)[0]


if __name__ == "__main__":
    main()
