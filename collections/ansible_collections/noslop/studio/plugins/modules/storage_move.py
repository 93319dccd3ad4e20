#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do one step of a move of the storage on one of its two hosts.

``ansible.posix.synchronize`` needs an SSH key of one host for the other, and the hosts of a studio have none.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_move
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Do one step of a move of the storage to another host
description:
  - The playbook C(noslop.studio.move_storage) calls it on the old and on the new storage server, in the order that
    keeps one of them the only one that may be written to.
  - The new server copies with C(rsync) over TLS. Each of the two makes a key for one move, which never leaves it, and
    accepts the certificate of the other only, which Ansible brings. The old server offers nothing but the shares, for
    reading, to the address of the new one.
  - Each host has a record of the move, by which M(noslop.studio.share_directories) refuses to serve shares that moved
    away, or that are not complete.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Examines both hosts, and does no other step.
    support: full
  action:
    description: The controller shows how far a copy or a list of hashes is.
    support: full
options:
  state:
    description:
      - V(examined) returns what speaks against the move on this host, and what the shares take.
      - V(begun) writes the record of the move, and makes the directories of the copies.
      - V(keyed) makes the key of this host, and returns its certificate.
      - V(served) offers the shares to the other host; V(stopped) ends that, or a copy that runs.
      - V(copied) makes the copies equal to the shares of the old server.
      - V(listed) lists the files with their hashes; V(compared) compares the lists of both hosts.
      - V(units_recorded) records which units of the studio run here, V(units_stopped) stops them, and V(units_started)
        starts the recorded ones again.
      - V(set_aside) renames the shares of the old server to its kept directories, if they are as they were listed.
      - V(put_in_place) renames the copies to the paths of the shares.
      - V(undone) gives the move up.
      - V(progress) returns how far the copy or list is that runs now.
    type: str
    required: true
    choices:
      - examined
      - begun
      - keyed
      - served
      - stopped
      - copied
      - listed
      - compared
      - units_recorded
      - units_stopped
      - units_started
      - set_aside
      - put_in_place
      - undone
      - progress
  part:
    description: Whether this host is the old server (V(source)) or the new one (V(target)).
    type: str
    choices: [source, target]
    default: source
  shares:
    description: Shares of the studio.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the share.
        type: str
        required: true
      path:
        description: Path of the share, the same on both hosts.
        type: path
        required: true
  studio_id:
    description: Identity of the studio, as in the markers.
    type: str
    default: ""
  peer:
    description: The other host's name in the inventory.
    type: str
    default: ""
  stamp:
    description: Names the kept directories. Returned by O(state=begun) on the old server.
    type: str
    default: ""
  needs:
    description: What each share takes, as O(state=examined) returned it on the old server.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the share.
        type: str
        required: true
      size:
        description: Bytes on the disk.
        type: int
        required: true
      inodes:
        description: Files and directories.
        type: int
        required: true
  min_free_gb:
    description: Free space in gigabytes (10^9 bytes) that must remain on the new server.
    type: float
    default: 50
  root:
    description:
      - Directory of the shares that have no path of their own. Where it is given, O(state=examined) checks on the new
        server whether it can export them.
    type: path
    default: ""
  require_own_file_system:
    description: Whether to refuse shares on a file system with other files.
    type: bool
    default: false
  address:
    description: Address of the old server in the studio.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the old server for this move; 0 for any free one.
    type: int
    default: 0
  clients:
    description: Addresses of the new server.
    type: list
    elements: str
    default: []
  certificate:
    description: Certificate of the other host.
    type: str
    default: ""
  final:
    description: Whether nothing writes to the shares any more, so that no file may vanish while it is copied.
    type: bool
    default: false
  listings:
    description: Lists as O(state=listed) returned them on the old server.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the share.
        type: str
        required: true
      digest:
        description: SHA-256 of the list.
        type: str
        required: true
      fingerprint:
        description: SHA-256 of the states of its inodes.
        type: str
        required: true
      entries:
        description: Number of its entries.
        type: int
      size:
        description: Bytes of its files.
        type: int
  run_directory:
    description: Directory in memory with keys, locks and progress.
    type: path
    default: /run/noslop-storage-move
  state_directory:
    description: Directory with the lists and the hashes.
    type: path
    default: /var/lib/noslop/storage-move
  record_file:
    description: Record of the move.
    type: path
    default: /var/lib/noslop/storage-move.json
  progress_file:
    description: File of the controller for the progress. Read by the action plugin.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Examine what the shares take
  noslop.studio.storage_move:
    state: examined
    part: source
    studio_id: 7f0c1a52-atelier
    peer: worker1
    shares:
      - {name: projects, path: /mnt/noslop/projects}
"""

RETURN = r"""
problems:
  description: Reasons against the move on this host.
  type: list
  elements: str
  returned: with O(state=examined)
move:
  description: Record of a move on this host; empty where there is none.
  type: dict
  returned: with O(state=examined) and O(state=begun)
needs:
  description: What each share takes; on the new server, what its copy has already.
  type: list
  elements: dict
  returned: with O(state=examined)
certificate:
  description: Certificate of this host.
  type: str
  returned: with O(state=keyed)
port:
  description: Port of the server.
  type: int
  returned: with O(state=served)
listings:
  description: List of each share, with C(name), C(digest), C(fingerprint), C(entries) and C(size).
  type: list
  elements: dict
  returned: with O(state=listed)
differences:
  description: Differences of the two hosts.
  type: list
  elements: str
  returned: with O(state=compared)
units:
  description: Units that run, or ran.
  type: list
  elements: str
  returned: with O(state=units_recorded)
installed:
  description: Whether this host has the programs rsync and openssl.
  type: bool
  returned: with O(state=examined)
kept_shares:
  description: Directories with the files of the old server, after its switch.
  type: list
  elements: str
  returned: with O(state=set_aside) and O(state=units_started)
removed:
  description: Copies that were removed.
  type: list
  elements: str
  returned: with O(state=undone)
models:
  description: Shares that are copied or listed now, with their bytes, as M(noslop.studio.model_files) returns models.
  type: list
  elements: dict
  returned: with O(state=progress)
running:
  description: The process that copies or lists now, or none.
  type: int
  returned: with O(state=progress)
"""

import shutil
import signal
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import SystemdError
from ansible_collections.noslop.studio.plugins.module_utils.nfs.certificates import CertificateError
from ansible_collections.noslop.studio.plugins.module_utils.storage_move import steps
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.record import MoveError
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.request import Request

#: What runs in check mode too.
LOOKS = ("examined", "progress")


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(1)


def main() -> None:
    """Do one step."""
    share_spec = {"name": {"type": "str", "required": True}, "path": {"type": "path", "required": True}}
    need_spec: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        "size": {"type": "int", "required": True},
        "inodes": {"type": "int", "required": True},
    }
    listing_spec: dict[str, Any] = {
        **{name: {"type": "str", "required": True} for name in ("name", "digest", "fingerprint")},
        "entries": {"type": "int"},
        "size": {"type": "int"},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": [*steps.STEPS]},
            "part": {"type": "str", "choices": ["source", "target"], "default": "source"},
            "shares": {"type": "list", "elements": "dict", "default": [], "options": share_spec},
            "studio_id": {"type": "str", "default": ""},
            "peer": {"type": "str", "default": ""},
            "stamp": {"type": "str", "default": ""},
            "needs": {"type": "list", "elements": "dict", "default": [], "options": need_spec},
            "min_free_gb": {"type": "float", "default": 50.0},
            "root": {"type": "path", "default": ""},
            "require_own_file_system": {"type": "bool", "default": False},
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 0},
            "clients": {"type": "list", "elements": "str", "default": []},
            "certificate": {"type": "str", "default": ""},
            "final": {"type": "bool", "default": False},
            "listings": {"type": "list", "elements": "dict", "default": [], "options": listing_spec},
            "run_directory": {"type": "path", "default": "/run/noslop-storage-move"},
            "state_directory": {"type": "path", "default": "/var/lib/noslop/storage-move"},
            "record_file": {"type": "path", "default": "/var/lib/noslop/storage-move.json"},
            "progress_file": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    state = module.params["state"]
    if module.check_mode and state not in LOOKS:
        module.exit_json(changed=True)
    # Told to end, a copy ends its rsync first.
    signal.signal(signal.SIGTERM, _end)
    try:
        result = steps.STEPS[state](module, Request.parse(module.params, shutil.which("rsync") or ""))
    except (MoveError, SystemdError, CertificateError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or state}: {error.strerror or error}. What was copied stays; run again.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
