#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find models that lie on a host of a studio, and offer them to its storage server.

``ansible.builtin.find`` knows neither content nor types, hashes all files in each run, and follows links;
``ansible.builtin.fetch`` and ``ansible.posix.synchronize`` bring each byte over the controller, or need keys between
hosts, which a studio does not have.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_adoption
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Offer models that lie on a host
description:
  - Lists the models in a directory of a host with their SHA-256, compares them with the share of a studio, and serves
    chosen ones to the storage server, which fetches them with M(noslop.studio.model_files).
  - Reads as the account that owns the directory, or as C(nobody) where that is root, when no other process wants the
    disk. Links are not followed. Nothing on the host is changed or deleted.
extends_documentation_fragment: noslop.studio.attributes
attributes:
  check_mode:
    description: Lists and compares, and remembers and serves nothing.
    support: full
options:
  state:
    description:
      - V(listed) returns the models of a directory.
      - V(compared) returns what becomes of O(files), on the host with the share.
      - V(served) serves O(files) until no client asks for 15 minutes, and V(stopped) ends that.
      - V(progress) returns how far the run is that lists now.
    type: str
    choices: [listed, compared, served, stopped, progress]
    default: listed
  path:
    description: Directory with the models.
    type: path
  files:
    description: Files as O(state=listed) returns them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path below O(path).
        type: str
        required: true
      size:
        description: Size in bytes.
        type: int
        required: true
      sha256:
        description: SHA-256.
        type: str
        required: true
      version:
        description: Names the state of the file.
        type: str
        required: true
  folder:
    description: Folder below the share for all files, with O(state=compared). By default the directories decide.
    type: str
    default: ""
  share_path:
    description: Path of the share, with O(state=compared).
    type: path
    default: /mnt/noslop/comfyui/models
  account:
    description: Account that owns the share, with O(state=compared).
    type: str
    default: noslop-models
  studio_id:
    description: Id of the studio in the share's marker, with O(state=compared).
    type: str
    default: ""
  catalogue:
    description: The models of the studio's list, each with C(path) and C(sha256), with O(state=compared).
    type: list
    elements: dict
    default: []
  address:
    description: Address of this host that is listened on, with O(state=served).
    type: str
    default: 127.0.0.1
  clients:
    description: Addresses that may ask, with O(state=served).
    type: list
    elements: str
    default: []
  record_directory:
    description: Directory of root's that remembers which files were read.
    type: path
    default: /var/lib/noslop/adoption
  share_record_directory:
    description: Directory of root's that remembers which files of the share were read.
    type: path
    default: /var/lib/noslop/models
  run_directory:
    description: Directory of root's, in memory, with the lock and the progress of the run.
    type: path
    default: /run/noslop-adoption
  progress_file:
    description: File on the controller that gets the progress as JSON while the module reads.
    type: path
"""

EXAMPLES = r"""
- name: List the models of another program
  noslop.studio.model_adoption:
    path: /home/artist/stable-diffusion-webui/models
"""

RETURN = r"""
files:
  description: The models, with O(state=listed); each as O(files) needs it.
  type: list
  elements: dict
  returned: with O(state=listed)
skipped:
  description: Files that cannot be adopted, each with C(path) and C(message).
  type: list
  elements: dict
  returned: with O(state=listed)
ollama:
  description: Names of the models in a directory of Ollama's, which its own pull brings to the share.
  type: list
  elements: str
  returned: with O(state=listed)
bytes:
  description: Bytes that all files of the directory, or of the share, have on the disk.
  type: int
  returned: with O(state=listed) and O(state=compared)
decisions:
  description: What becomes of each file.
  type: list
  elements: dict
  returned: with O(state=compared)
  contains:
    path:
      description: Path on the host.
      type: str
    state:
      description: V(new) if it can be copied, V(present) if the share has its content, V(left) if it cannot be copied.
      type: str
    target:
      description: Path below the share.
      type: str
    listed:
      description: Whether the studio's list has the target.
      type: bool
    message:
      description: What to know about it.
      type: str
port:
  description: Port of the server; 0 in check mode.
  type: int
  returned: with O(state=served)
token:
  description: The secret that a request needs as its bearer token. The task that gets it needs C(no_log).
  type: str
  returned: with O(state=served)
models:
  description: The files that are being read now, as M(noslop.studio.model_files) returns them.
  type: list
  elements: dict
  returned: with O(state=progress)
running:
  description: The process that lists or serves now, or none.
  type: int
  returned: with O(state=progress)
"""

import os
import secrets
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import (
    adoption,
    foreign_models,
    model_tree,
    one_shot_server,
    progress,
    record,
    shared_trees,
)
from ansible_collections.noslop.studio.plugins.module_utils.share import access


def main() -> None:
    """List, compare or serve models."""
    file_spec: dict[str, Any] = {
        "path": {"type": "str", "required": True},
        "size": {"type": "int", "required": True},
        "sha256": {"type": "str", "required": True},
        "version": {"type": "str", "required": True},
    }
    states = ["listed", "compared", "served", "stopped", "progress"]
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": states, "default": "listed"},
            "path": {"type": "path"},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file_spec},
            "folder": {"type": "str", "default": ""},
            "share_path": {"type": "path", "default": "/mnt/noslop/comfyui/models"},
            "account": {"type": "str", "default": "noslop-models"},
            "studio_id": {"type": "str", "default": ""},
            "catalogue": {"type": "list", "elements": "dict", "default": []},
            "address": {"type": "str", "default": "127.0.0.1"},
            "clients": {"type": "list", "elements": "str", "default": []},
            "record_directory": {"type": "path", "default": "/var/lib/noslop/adoption"},
            "share_record_directory": {"type": "path", "default": record.DIRECTORY},
            "run_directory": {"type": "path", "default": "/run/noslop-adoption"},
            "progress_file": {"type": "path"},
        },
        required_if=[("state", name, ["path"]) for name in ("listed", "compared", "served")],
        supports_check_mode=True,
    )
    params, check_mode = module.params, module.check_mode
    state = params["state"]
    try:
        if state == "progress":
            result: dict[str, Any] = {"changed": False, **progress.read_state(params["run_directory"])}
        elif state == "stopped":
            result = {"changed": progress.stop_holder(params["run_directory"], check_mode=check_mode)}
        elif state == "compared":
            result = compare(params, check_mode=check_mode)
        elif state == "served":
            result = serve(params, check_mode=check_mode)
        else:
            result = list_models(params, check_mode=check_mode)
    except (foreign_models.AdoptionError, shared_trees.TreeError, access.ShareError) as error:
        module.fail_json(msg=str(error))
    except (OSError, ValueError) as error:
        where = getattr(error, "filename", None) or params["path"]
        module.fail_json(msg=f"{where}: {getattr(error, 'strerror', None) or error}")
    module.exit_json(**result)


def list_models(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Return the models of a directory."""
    name, account = foreign_models.find_account(params["path"])
    lock = None if check_mode else progress.Lock(params["run_directory"])
    if lock:
        lock.acquire()
    tree = shared_trees.Tree(f"adopted:{params['path']}", params["path"], name, account)
    library = shared_trees.Library(
        [tree],
        record_directory=params["record_directory"],
        run_directory=params["run_directory"] if lock else "",
        kept_descriptors=[lock.descriptor] if lock else [],
    )
    listing = foreign_models.list_models(library, tree)
    return {"changed": False, **listing}


def compare(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Return what becomes of each file."""
    tree = shared_trees.Tree(
        shared_trees.CATALOGUE_TREE, params["share_path"], params["account"], access.share_owner(params["account"])
    )
    trees = shared_trees.check([tree], params["studio_id"], check_mode=check_mode)
    # Without a directory of a run nothing is recorded, so it need not wait for one that fetches.
    library = shared_trees.Library(trees, record_directory=params["share_record_directory"])
    offers = [adoption.Offer(**file) for file in params["files"]]
    present, names, count = foreign_models.read_share(library, {offer.size for offer in offers})
    decisions = adoption.decide(
        offers,
        params["path"],
        present=present,
        names=names,
        catalogue=[adoption.Entry(str(one["path"]), str(one.get("sha256") or "")) for one in params["catalogue"]],
        folder=params["folder"],
    )
    return {"changed": False, "bytes": count, "decisions": [_make_row(one) for one in decisions]}


def serve(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Start to serve files. Return the port and the secret."""
    if check_mode:
        return {"changed": True, "port": 0, "token": ""}
    __, account = foreign_models.find_account(params["path"])
    lock = progress.Lock(params["run_directory"])
    if progress.read_holder(params["run_directory"]):
        raise foreign_models.AdoptionError(
            "Models of this host are being adopted already. Wait for the end of that run."
        )
    lock.acquire()
    secret = secrets.token_urlsafe(32)
    offers = [adoption.Offer(**file) for file in params["files"]]
    with one_shot_server.listen(params["address"]) as listener:

        def work() -> None:
            top = model_tree.open_top(params["path"])
            one_shot_server.serve(listener, top, offers, params["clients"], secret)

        kept = [listener.fileno(), lock.descriptor]
        lock.give_to(worker_processes.start_detached(work, account, kept))
        port = listener.getsockname()[1]
    os.close(lock.descriptor)
    return {"changed": True, "port": port, "token": secret}


def _make_row(decision: adoption.Decision) -> dict[str, Any]:
    return {
        "path": decision.offer.path,
        "size": decision.offer.size,
        "sha256": decision.offer.sha256,
        "version": decision.offer.version,
        "state": decision.state,
        "target": decision.target,
        "listed": decision.listed,
        "message": decision.message,
    }


if __name__ == "__main__":
    main()
