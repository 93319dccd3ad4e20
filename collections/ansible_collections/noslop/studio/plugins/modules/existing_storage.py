#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove a file system that is shared already, from every host, and mark the shares on it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: existing_storage
author: The NoSlop authors (@noslop)
version_added: 0.2.0
short_description: Prove and mark the shares of a studio on a file system that is shared already
description:
  - Mounts and exports nothing. Makes the directories of the shares as far as the file system lets root, measures on
    every host and between hosts what a studio needs of it, and marks the shares.
  - No other module measures what hosts see of each other at the same moment - names that are made at once, a file that
    is replaced while others read it, how soon a new file is seen, locks.
  - A probe takes five steps, each on all of its hosts before the next one starts. One host, the writer, makes the
    directories and that of the probe (C(prepare)), every host tests the file system alone (C(measure)) and together
    with the others (C(meet)), the writer removes the directory of the probe (C(clean)), and, after the results were
    judged, writes the markers (C(mark)).
  - The directory of a probe lies in a share, is called C(.noslop-probe-) and the studio's id, and is made for one
    probe. Those of probes that were interrupted are removed first. It holds 65 MB a host at most.
  - Each share is used as the account that owns it, by worker processes that are killed when they do not answer in time.
extends_documentation_fragment:
  - noslop.studio.owned_shares
attributes:
  check_mode:
    description: Returns what C(prepare) and C(mark) would make, and writes no file, so that nothing is measured.
    support: full
  diff_mode:
    description: Not available.
    support: none
options:
  phase:
    description: Step to run.
    type: str
    choices: [prepare, measure, meet, clean, mark]
    required: true
  root:
    description: Directory of the shares that have no path of their own.
    type: path
    default: /mnt/noslop
  group_gid:
    description: Number of the group that may enter the storage root.
    type: int
    required: true
  host:
    description: Name of this host in the inventory. Needed by C(measure) and C(meet).
    type: str
    default: ""
  hosts:
    description: Names of all hosts of the probe, in the same order on each of them.
    type: list
    elements: str
    default: []
  participants:
    description: >-
      Names of the hosts that run C(meet) at the same time, the writer first. Not more than Ansible has forks, because
      they wait for each other.
    type: list
    elements: str
    default: []
  probed:
    description: Result RV(probed) of C(prepare).
    type: list
    elements: str
    default: []
  run_id:
    description: Result RV(run_id) of C(prepare).
    type: str
    default: ""
  peers:
    description: Result RV(measured) of C(measure) on each host, by host name. Needed by C(meet).
    type: dict
    default: {}
  min_free_gb:
    description: Free space in gigabytes (10^9 bytes) that every file system with a share must have.
    type: float
    default: 50
  timeout:
    description: Seconds after which a share counts as not answering.
    type: float
    default: 360
"""

EXAMPLES = r"""
- name: Make the directories of the shares
  noslop.studio.existing_storage:
    phase: prepare
    root: /mnt/noslop
    shares:
      - {name: projects, path: /mnt/noslop/projects, uid: 2600, gid: 2600}
      - {name: comfyui_models, path: /mnt/noslop/comfyui/models, uid: 2601, gid: 2601}
    studio_id: 7f0c1a52-atelier
    group_gid: 2600
  register: prepared
"""

RETURN = r"""
made:
  description: Directories and markers that were made or corrected.
  type: list
  elements: str
  returned: when O(phase=prepare) or O(phase=mark)
probed:
  description: Names of shares, one for each file system.
  type: list
  elements: str
  returned: when O(phase=prepare)
run_id:
  description: Name of this probe.
  type: str
  returned: when O(phase=prepare)
measured:
  description: By share, the features and the speed of its file system on this host, or an error.
  type: dict
  returned: when O(phase=measure)
host:
  description: Name of this host, as O(host).
  type: str
  returned: when O(phase=measure)
root_errors:
  description: By share, why root does not reach its directory; empty where it does.
  type: dict
  returned: when O(phase=measure)
met:
  description: By share, what this host saw of the others, or an error.
  type: dict
  returned: when O(phase=meet)
problems:
  description: Reasons why nothing was changed.
  type: list
  elements: str
  returned: failure
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.probe.steps import StorageSteps
from ansible_collections.noslop.studio.plugins.module_utils.share import owned_shares


def main() -> None:
    """Run one step, and return its results."""
    module = AnsibleModule(
        argument_spec={
            "phase": {"type": "str", "choices": ["prepare", "measure", "meet", "clean", "mark"], "required": True},
            **owned_shares.SPEC,
            "root": {"type": "path", "default": studio.STORAGE_ROOT},
            "group_gid": {"type": "int", "required": True},
            "host": {"type": "str", "default": ""},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "participants": {"type": "list", "elements": "str", "default": []},
            "probed": {"type": "list", "elements": "str", "default": []},
            "run_id": {"type": "str", "default": ""},
            "peers": {"type": "dict", "default": {}},
            "min_free_gb": {"type": "float", "default": 50.0},
            "timeout": {"type": "float", "default": 360.0},
        },
        required_if=[("phase", phase, ["host", "hosts"]) for phase in ("measure", "meet")],
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="each share is used as the account that owns it: run this with become")
    phase = module.params["phase"]
    storage = StorageSteps(module.params, check_mode=module.check_mode)
    if module.check_mode and phase in ("measure", "meet", "clean"):
        module.exit_json(changed=False, host=module.params["host"], measured={}, root_errors={}, met={})
    result = getattr(storage, phase)()
    if result.get("problems"):
        module.fail_json(
            msg=f"The existing storage cannot be used on this host. {' '.join(result['problems'])}",
            problems=result["problems"],
        )
    result.pop("problems", None)
    module.exit_json(**{"changed": False, **result})


if __name__ == "__main__":
    main()
