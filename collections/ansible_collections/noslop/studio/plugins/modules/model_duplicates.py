#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Join equal files of a studio's models on the storage server, so that their bytes lie on its disk once.

No ordinary module compares files or shares their extents, and a command such as ``hardlink`` or ``jdupes`` reads all
files in each run, replaces files of which a program has one open for writing, and links those of different owners.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_duplicates
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Join equal files of a studio's models
description:
  - Finds files with the same content in the given shares, and lets them share their extents where the file system can
    (Btrfs, XFS). Owner, mode and times of each stay, and a program that writes to one does not change the other.
  - Elsewhere a file becomes a hard link to the oldest of the same share that has its owner and mode. Files of different
    shares are never linked, because they belong to different accounts; what they cost is returned.
  - Nothing is deleted, and no file is replaced that does not have the same bytes at that moment. Files that a program
    has open for writing, and those that changed a short time ago, are left alone.
  - Reads as the account of each share, when no other process wants the disk. What was read once is not read again
    while it does not change.
extends_documentation_fragment: noslop.studio.attributes
attributes:
  check_mode:
    description: Reads the files, and returns which would be joined.
    support: full
options:
  trees:
    description: The shares. A file with names in several is of the first one.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the share in its marker.
        type: str
        required: true
      path:
        description: Path of the share.
        type: path
        required: true
      account:
        description: Account that owns the share.
        type: str
        required: true
  studio_id:
    description: Id of the studio in the shares' markers.
    type: str
    required: true
  hard_links:
    description: Whether files become hard links where the file system cannot share extents.
    type: bool
    default: true
  min_age:
    description: Seconds since its last change after which a file is no longer taken to be in the making.
    type: int
    default: 600
  record_directory:
    description: Directory of root's that remembers which files were read, so that no run reads them again.
    type: path
    default: /var/lib/noslop/models
  run_directory:
    description: Directory of root's, in memory, with the lock and the progress of the run that fetches.
    type: path
    default: /run/noslop-models
  progress_file:
    description: File on the controller that gets the progress as JSON while the module reads.
    type: path
  state:
    description:
      - V(present) joins the files, V(progress) returns how far the run is that reads or fetches now.
    type: str
    choices: [present, progress]
    default: present
notes:
  - It waits for a run that fetches models, and lets other ones wait.
"""

EXAMPLES = r"""
- name: Join equal models
  noslop.studio.model_duplicates:
    studio_id: "{{ noslop_studio_id }}"
    trees:
      - name: comfyui_models
        path: /mnt/noslop/comfyui/models
        account: noslop-models
"""

RETURN = r"""
duplicates:
  description: The files that have the content of another one and were not joined before.
  type: list
  elements: dict
  returned: success
  contains:
    share:
      description: Name of its share.
      type: str
    path:
      description: Path below the share. What is no text in UTF-8 is escaped.
      type: str
    same_as:
      description: Share and path of the file that has the same content.
      type: str
    sha256:
      description: SHA-256 of both.
      type: str
    size:
      description: Size in bytes.
      type: int
    state:
      description: V(shared), V(linked), or V(apart) where it was not joined.
      type: str
    message:
      description: Why it was not joined.
      type: str
skipped:
  description: Files that could not be compared, each with C(share), C(path) and C(message).
  type: list
  elements: dict
  returned: success
bytes_before:
  description: Bytes that all files had on the disk before.
  type: int
  returned: success
bytes_after:
  description: Bytes that they have now, or would have.
  type: int
  returned: success
bytes_apart:
  description: Bytes of the copies that were not joined.
  type: int
  returned: success
models:
  description: The files that are being read now, as M(noslop.studio.model_files) returns them.
  type: list
  elements: dict
  returned: with O(state=progress)
running:
  description: The process that reads or fetches now, or none.
  type: int
  returned: with O(state=progress)
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.models import progress, record, shared_trees
from ansible_collections.noslop.studio.plugins.module_utils.models.joining import Joining
from ansible_collections.noslop.studio.plugins.module_utils.share import access


def main() -> None:
    """Join the files."""
    tree_spec: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        "path": {"type": "path", "required": True},
        "account": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "trees": {"type": "list", "elements": "dict", "required": True, "options": tree_spec},
            "studio_id": {"type": "str", "required": True},
            "hard_links": {"type": "bool", "default": True},
            "min_age": {"type": "int", "default": 600},
            "record_directory": {"type": "path", "default": record.DIRECTORY},
            "run_directory": {"type": "path", "default": progress.DIRECTORY},
            "progress_file": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "progress"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["state"] == "progress":
        module.exit_json(changed=False, **progress.read_state(params["run_directory"]))
    try:
        trees = [shared_trees.Tree(**tree, owner=access.share_owner(tree["account"])) for tree in params["trees"]]
        ready = shared_trees.check(trees, params["studio_id"], check_mode=module.check_mode)
        lock = None if module.check_mode else progress.Lock(params["run_directory"])
        if lock:
            lock.acquire()
        library = shared_trees.Library(
            ready,
            record_directory=params["record_directory"],
            run_directory=params["run_directory"] if lock else "",
            kept_descriptors=[lock.descriptor] if lock else [],
            min_age_s=params["min_age"],
        )
        joining = Joining(library, hard_links=params["hard_links"], check_mode=module.check_mode)
        module.exit_json(**joining.join())
    except (shared_trees.TreeError, access.ShareError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or 'The models'}: {error.strerror or error}. Nothing was lost: run this again."
        )


if __name__ == "__main__":
    main()
