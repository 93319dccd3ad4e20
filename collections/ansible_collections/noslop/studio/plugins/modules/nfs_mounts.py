#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount the shares by units of systemd.

``ansible.posix.mount`` writes fstab, knows no automounts, reads no marker, and blocks on a server that is down.
This one leaves a mount that is in use alone.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_mounts
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Mount a studio's shares, and check the mounts
description:
  - Makes the mount points, reloads the units, enables and starts the automounts, and accesses each share once, in a
    worker process that can be killed. Then compares the kernel's mounts and the shares' markers with the request.
  - A mount whose options or server changed is unmounted and mounted again. Before that the studio's own services are
    stopped, and started again afterwards. Where another program uses the mount, nothing is changed, and the error names
    the program.
  - A mount point that contains files, or on which another file system is mounted, is refused. No file is ever hidden.
  - Units of NoSlop for other paths are removed.
  - The unit files are written before.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Finds the same problems, and returns what would be done.
    support: full
options:
  state:
    description:
      - C(present) mounts, C(checked) only checks whether this host permits that.
      - C(absent) unmounts every share and removes the units and the empty mount points. Where the server is down, the
        mounts are detached by force.
    type: str
    choices: [present, checked, absent]
    default: present
  root:
    description: Directory of the shares that have no path of their own; only the group may enter it.
    type: path
    required: true
  gid:
    description: Number of the group that may use the shares.
    type: int
    required: true
  studio_id:
    description: Identity of the studio, as in the markers.
    type: str
    default: ""
  server:
    description: Address of the storage server.
    type: str
    default: ""
  mounts:
    description: Shares to mount.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the share, as in its marker.
        type: str
        required: true
      path:
        description: Path of the share, the same on the server and here.
        type: path
        required: true
      options:
        description: Mount options (nfs(5)), as in the unit.
        type: str
        required: true
  read_ahead_kb:
    description: Read-ahead of these mounts in KiB, to which the current value is raised or lowered.
    type: int
    default: 15360
  quiet_units:
    description:
      - Units of NFSv3 that must not run; a drop-in keeps them from starting again. A mount by NFSv3, which needs them,
        is refused. With C(state=absent), those that are enabled are started again.
    type: list
    elements: str
    default: []
  services:
    description: Units of the studio that use the shares; those that run are stopped while a share is mounted again.
    type: list
    elements: str
    default: []
  timeout_s:
    description: Seconds that a share may take to answer. A server that was just started lets clients wait for 90.
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
  description: Changes that were made, or would be.
  type: list
  elements: str
  returned: always
installed:
  description: Whether this host has the programs of an NFS client.
  type: bool
  returned: success
mounted:
  description: Mounts of the kernel.
  type: list
  elements: dict
  returned: when mounted
  contains:
    name:
      description: The share's name.
      type: str
    path:
      description: Mount point.
      type: str
    source:
      description: Source of the mount.
      type: str
    rsize:
      description: Largest read in bytes that server and client negotiated.
      type: int
    read_ahead_kb:
      description: Read-ahead in force, in KiB.
      type: int
notes:
  description: Options that are in force with less than the requested value.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import SystemdError
from ansible_collections.noslop.studio.plugins.module_utils.nfs.client import NfsClient
from ansible_collections.noslop.studio.plugins.module_utils.nfs.client_state import MountError


def main() -> None:
    """Bring the client to the requested state, and return its mounts."""
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
            "read_ahead_kb": {"type": "int", "default": studio.READ_AHEAD_KB},
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
