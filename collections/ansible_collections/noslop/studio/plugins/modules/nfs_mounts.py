#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount a studio's shares through their units, safely, and prove that the right ones are mounted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_mounts
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Mount a studio's shares, and prove it
description:
  - Makes the mount points, lets systemd read the units, enables and starts the automounts, and uses each share once, in
    a child that can be killed. Then compares what the kernel has mounted, and the share's marker, with what was meant.
  - A mount whose options or server changed is taken away and made again. Before that the studio's own services are
    stopped, and started again afterwards. When another program uses the mount, nothing is changed and it is named.
  - A mount point that holds files, or on which something else is mounted, is refused. Nothing is ever hidden.
  - Units of NoSlop for paths that are no share any more are taken away.
  - The unit files are written by others, before.
attributes:
  check_mode:
    description: Finds the same problems, and says what would be done.
    support: full
  diff_mode:
    description: There is no text to compare.
    support: none
options:
  state:
    description:
      - C(present) mounts, C(checked) only looks whether something on this host stands against it.
      - C(absent) unmounts every share and removes the units and the empty mount points. Where the server is away, the
        mounts are detached by force.
    type: str
    choices: [present, checked, absent]
    default: present
  root:
    description: Directory that holds the shares which have no place of their own; only the group may enter it.
    type: path
    required: true
  gid:
    description: Number of the group that may use the shares.
    type: int
    required: true
  studio_id:
    description: Identity of the studio, as the markers carry it.
    type: str
    default: ""
  server:
    description: Address of the storage server.
    type: str
    default: ""
  mounts:
    description: What to mount.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The share's name, as its marker carries it.
        type: str
        required: true
      path:
        description: Where it lies, on the server and here.
        type: path
        required: true
      options:
        description: Options of nfs(5), as in the unit.
        type: str
        required: true
  read_ahead_kb:
    description: How far the kernel reads ahead on these mounts, in KiB. What is in force is raised or lowered to it.
    type: int
    default: 15360
  quiet_units:
    description:
      - Units of NFSv3 that must not run; a condition in a drop-in keeps them from starting again. A mount by NFSv3,
        which needs them, is refused. With C(state=absent), those that are enabled are started again.
    type: list
    elements: str
    default: []
  services:
    description: Units of the studio that use the shares; those that run are stopped while a share is mounted anew.
    type: list
    elements: str
    default: []
  timeout_s:
    description: Seconds that a share may take to answer. A server that just started lets clients wait for 90.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Mount the projects
  noslop.studio.nfs_mounts:
    root: /mnt/noslop
    gid: 2600
    studio_id: 7f0c1a52-atelier
    server: 192.168.1.10
    mounts:
      - name: projects
        path: /mnt/noslop/projects
        options: vers=4.2,hard,nosuid,nodev
"""

RETURN = r"""
changes:
  description: What was done, or would be.
  type: list
  elements: str
  returned: always
installed:
  description: Whether this host has the programs of an NFS client.
  type: bool
  returned: success
mounted:
  description: The shares as the kernel has them.
  type: list
  elements: dict
  returned: when mounted
  contains:
    name:
      description: The share's name.
      type: str
    path:
      description: Where it is mounted.
      type: str
    source:
      description: What is mounted.
      type: str
    rsize:
      description: Largest read in bytes that server and client agreed on.
      type: int
    read_ahead_kb:
      description: Read-ahead in force, in KiB.
      type: int
notes:
  description: What works, but not as was asked.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import SystemdError
from ansible_collections.noslop.studio.plugins.module_utils.nfs.client import NfsClient
from ansible_collections.noslop.studio.plugins.module_utils.nfs.client_state import MountError


def main() -> None:
    """Do what was asked, and report the mounts."""
    mount_spec = {
        "name": {"type": "str", "required": True},
        "path": {"type": "path", "required": True},
        "options": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "checked", "absent"], "default": "present"},
            "root": {"type": "path", "required": True},
            "gid": {"type": "int", "required": True},
            "studio_id": {"type": "str", "default": ""},
            "server": {"type": "str", "default": ""},
            "mounts": {"type": "list", "elements": "dict", "default": [], "options": mount_spec},
            "read_ahead_kb": {"type": "int", "default": 15360},
            "services": {"type": "list", "elements": "str", "default": []},
            "quiet_units": {"type": "list", "elements": "str", "default": []},
            "timeout_s": {"type": "int", "default": 120},
        },
        required_if=[
            ("state", "present", ["studio_id", "server", "mounts"]),
            ("state", "checked", ["studio_id", "server", "mounts"]),
        ],
        supports_check_mode=True,
    )
    client = NfsClient(module)
    result: dict[str, Any] = {}
    try:
        client.check()
        if module.params["state"] == "absent":
            client.remove()
        elif module.params["state"] == "present":
            client.mount()
            result["mounted"] = client.verify()
    except (MountError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error), changes=client.changes)
    result["installed"] = module.get_bin_path("mount.nfs4") is not None
    module.exit_json(changed=bool(client.changes), changes=client.changes, notes=client.notes, **result)


if __name__ == "__main__":
    main()
