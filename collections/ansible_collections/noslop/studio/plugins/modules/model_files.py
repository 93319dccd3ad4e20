#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch the models of a studio's catalogue to its share, on the storage server.

``ansible.builtin.get_url`` begins anew after each cut, shows no progress, hashes in a second pass, works as root below
what an account owns, and keeps a login page that comes with 200.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_files
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Fetch models to the share of a studio
description:
  - Fetches each model as O(account), two at a time, and goes on after a cut, a kill or a power failure.
  - A model gets its name when it is whole and has the right SHA-256, size and type. Another file of that name is never
    replaced.
extends_documentation_fragment:
  - noslop.studio.attributes
  - noslop.studio.fetches
attributes:
  check_mode:
    description: Returns which models are missing.
    support: full
options:
  path:
    description: Path of the share.
    type: path
    required: true
  share:
    description: Name of the share in its marker.
    type: str
    default: comfyui_models
  account:
    description: Account that owns the share.
    type: str
    required: true
  studio_id:
    description: Id of the studio in the share's marker.
    type: str
    required: true
  models:
    description: The models, as the lookup P(noslop.studio.studio#lookup) returns them.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path of the file below the share.
        type: str
        required: true
      url:
        description: Address of the file.
        type: str
        required: true
      sha256:
        description: SHA-256 of the file, or empty where it is not known.
        type: str
        default: ""
      size:
        description: Size in bytes, or 0 where it is not known.
        type: int
        default: 0
  token_files:
    description:
      - Files on the controller with a token, by the origin that it is for, such as V(https://example.org). Nobody but
        their owner may read them. A token is not sent on by a redirect.
    type: dict
    default: {}
  tokens:
    description: The tokens themselves, which the task reads from O(token_files).
    type: dict
    default: {}
  record_directory:
    description: Directory of root's that remembers which files were compared, so that no run reads them again.
    type: path
    default: /var/lib/noslop/models
  rate_limit:
    description: Bytes a second that all downloads may take together; 0 is no limit.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Fetch a model
  noslop.studio.model_files:
    path: /mnt/noslop/comfyui/models
    account: noslop-models
    studio_id: "{{ noslop_studio_id }}"
    models:
      - path: checkpoints/painter.safetensors
        url: https://models.example.org/painter.safetensors
        sha256: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
"""

RETURN = r"""
models:
  description: The models of the run, each as it is now.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: Path below the share.
      type: str
    state:
      description: V(missing) in check mode, V(present), V(fetched), V(verified) or V(failed).
      type: str
    size:
      description: Size in bytes.
      type: int
    sha256:
      description: SHA-256 of the file.
      type: str
    received:
      description: Bytes that came over the network for it in this run.
      type: int
    message:
      description: Why it failed.
      type: str
    free_bytes:
      description: Bytes that are free on the share, in check mode.
      type: int
    same_as:
      description: Paths of other files below the share with this content, as far as they were read, in check mode.
      type: list
      elements: str
followed:
  description: Whether another run was fetching first.
  type: bool
  returned: success
running:
  description: The process that fetches now, or none.
  type: int
  returned: with O(state=progress)
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import fetch, progress, record
from ansible_collections.noslop.studio.plugins.module_utils.models.rate_limit import RateLimit
from ansible_collections.noslop.studio.plugins.module_utils.share import access

#: Models that are fetched at the same time.
PARALLEL = 2


class ModelsError(Exception):
    """No model can be fetched. The message is for the user who has to repair it."""


def main() -> None:
    """Fetch the models."""
    model_spec = {
        "path": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "sha256": {"type": "str", "default": ""},
        "size": {"type": "int", "default": 0},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "share": {"type": "str", "default": "comfyui_models"},
            "account": {"type": "str", "required": True},
            "studio_id": {"type": "str", "required": True},
            "models": {"type": "list", "elements": "dict", "required": True, "options": model_spec},
            "token_files": {"type": "dict", "default": {}, "no_log": False},
            "tokens": {"type": "dict", "default": {}, "no_log": True},
            "record_directory": {"type": "path", "default": record.DIRECTORY},
            "rate_limit": {"type": "int", "default": 0},
            "run_directory": {"type": "path", "default": progress.DIRECTORY},
            "progress_file": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "verified", "progress", "stopped"], "default": "present"},
        },
        supports_check_mode=True,
    )
    state = module.params["state"]
    if state == "progress":
        module.exit_json(changed=False, **progress.read_state(module.params["run_directory"]))
    if state == "stopped":
        module.exit_json(changed=progress.stop_holder(module.params["run_directory"], check_mode=module.check_mode))
    try:
        result = fetch_models(module, verify=state == "verified")
    except (ModelsError, access.ShareError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['path']}: {error.strerror or error}")
    failed = [row["message"] for row in result["models"] if row["state"] == "failed"]
    if failed:
        module.fail_json(msg="\n".join(failed), **result)
    module.exit_json(**result)


def fetch_models(module: AnsibleModule, *, verify: bool) -> dict[str, Any]:
    """Fetch what the share lacks; or read what it has, and compare it."""
    params = module.params
    owner = access.share_owner(params["account"])
    wanted = [fetch.Wanted(model["path"], model["url"], model["sha256"], model["size"]) for model in params["models"]]
    if module.check_mode and (owner is None or not os.path.isdir(params["path"])):
        return {"changed": bool(wanted), "models": [_make_row(one, "missing") for one in wanted], "followed": False}
    if owner is None:
        raise ModelsError(f"There is no account {params['account']} here. Run the playbook storage first.")
    access.check_marker(params["path"], params["share"], params["studio_id"], owner)
    if module.check_mode:
        rows = _inspect(wanted, params, owner)
        return {"changed": any(row["state"] == "missing" for row in rows), "models": rows, "followed": False}
    lock = progress.Lock(params["run_directory"])
    followed = lock.acquire()
    entries = record.read(params["record_directory"])
    shown = progress.Progress([progress.Row(one.path, size=one.size) for one in wanted], params["run_directory"])
    results = {one.path: _make_row(one, "failed") for one in wanted}

    def work(send: Callable[[Any], None]) -> None:
        sent_at: dict[str, float] = {}

        def report(path: str, received: int, size: int) -> None:
            if time.monotonic() - sent_at.get(path, 0.0) >= progress.INTERVAL_S:
                sent_at[path] = time.monotonic()
                send(["received", path, received, size])

        transfer = fetch.Transfer(params["tokens"], RateLimit(params["rate_limit"]), report)
        with ThreadPoolExecutor(PARALLEL) as pool:
            work_on = _verify if verify else _fetch
            recorded = [_add_checksum(one, entries.get(one.path)) for one in wanted]
            list(pool.map(lambda one: send(work_on(one, params["path"], transfer, entries.get(one.path))), recorded))

    for kind, path, *values in worker_processes.stream(work, owner, [lock.descriptor]):
        if kind == "received":
            shown.update(path, *values)
            continue
        row = results[path]
        row.update(values[0])
        shown.end(path, row["state"], row["message"])
        if row["state"] != "failed":
            entries[path] = record.Entry(**values[1])
            record.write(params["record_directory"], entries)
    listed = list(results.values())
    return {"changed": any(row["state"] == "fetched" for row in listed), "models": listed, "followed": followed}


def _add_checksum(wanted: fetch.Wanted, entry: record.Entry | None) -> fetch.Wanted:
    """Return a model with the checksum of its first fetch, where the catalogue has none."""
    return wanted if wanted.sha256 or not entry else replace(wanted, sha256=entry.sha256)


def _fetch(wanted: fetch.Wanted, share: str, transfer: fetch.Transfer, entry: record.Entry | None) -> list[Any]:
    """Fetch a model in the worker; return what is sent to the module."""
    target = os.path.join(share, wanted.path)
    try:
        verified_at = None
        if entry and _is_recorded(target, wanted, entry):
            done, verified_at = fetch.Fetched(wanted.path, entry.size, entry.sha256, 0), entry.verified_at
        else:
            done = fetch.fetch(wanted, share, transfer)
        state = "fetched" if done.is_new else "present"
        values = {"state": state, "size": done.size, "sha256": done.sha256, "received": done.received}
        made = record.make_entry(done.sha256, wanted.url, os.stat(target), verified_at)
        return ["ended", wanted.path, values, asdict(made)]
    except (fetch.FetchError, OSError) as error:
        return ["ended", wanted.path, {"message": str(error)}]


def _verify(wanted: fetch.Wanted, share: str, transfer: fetch.Transfer, __: record.Entry | None) -> list[Any]:
    """Compare a model in the worker with its checksum; return what is sent to the module."""
    try:
        done = fetch.verify(wanted, share, transfer)
        values = {"state": "verified", "size": done.size, "sha256": done.sha256, "received": 0}
        status = os.stat(os.path.join(share, wanted.path))
        return ["ended", wanted.path, values, asdict(record.make_entry(done.sha256, wanted.url, status))]
    except (fetch.FetchError, OSError) as error:
        return ["ended", wanted.path, {"message": str(error)}]


def _is_recorded(target: str, wanted: fetch.Wanted, entry: record.Entry) -> bool:
    """Return whether the file is there that was compared before, and is the wanted one."""
    try:
        status = os.stat(target)
    except OSError:
        return False
    return entry.is_of(status) and wanted.sha256 in ("", entry.sha256) and wanted.size in (0, entry.size)


def _inspect(
    wanted: list[fetch.Wanted], params: dict[str, Any], owner: worker_processes.Account
) -> list[dict[str, Any]]:
    """Return the models as they are, without reading them, the free room, and files that have their content."""
    share = params["path"]
    copies = {one.path: _list_copies(one, params) for one in wanted}

    def look() -> list[Any]:
        status = os.statvfs(share)
        there = [os.path.lexists(os.path.join(share, one.path)) for one in wanted]
        same = [[path for path in copies[one.path] if os.path.isfile(os.path.join(share, path))] for one in wanted]
        return [status.f_bavail * status.f_frsize, there, same]

    outcome = worker_processes.run_one(look, owner, access.SHARE_TIMEOUT_S)
    if outcome.error:
        raise ModelsError(f"{share} cannot be listed: {outcome.error}")
    free_bytes, there, same = outcome.value
    return [
        {**_make_row(one, "present" if is_there else "missing"), "free_bytes": free_bytes, "same_as": paths}
        for one, is_there, paths in zip(wanted, there, same)
    ]


def _list_copies(wanted: fetch.Wanted, params: dict[str, Any]) -> list[str]:
    """Return the paths of other files of the share that had this content when they were read."""
    fetched = record.read(params["record_directory"])
    prefix = f"{params['share']}/"
    hashed = record.read(params["record_directory"], record.HASHED)
    entries = {**{key[len(prefix) :]: one for key, one in hashed.items() if key.startswith(prefix)}, **fetched}
    return sorted(
        path for path, one in entries.items() if wanted.sha256 and one.sha256 == wanted.sha256 and path != wanted.path
    )


def _make_row(wanted: fetch.Wanted, state: str) -> dict[str, Any]:
    row = {"path": wanted.path, "size": wanted.size, "sha256": wanted.sha256, "received": 0}
    return {**row, "state": state, "message": "its download ended without an answer" if state == "failed" else ""}


if __name__ == "__main__":
    main()
