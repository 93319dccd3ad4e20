#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move models of a share to its trash and back, and find those that nothing names.

``ansible.builtin.file`` with ``state: absent`` has no way back and removes directories; a command with ``mv`` replaces
what has the name, works as root below what an account owns, and cannot say what it would do.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_trash
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Move models of a share to its trash and back
description:
  - Moves files of a share to the trash below it, C(.noslop-trash), as O(account), and back.
  - Only files that have lain in the trash for O(trash_days) are removed, and partial downloads that nothing names.
    Directories of models are never touched.
  - Nothing is moved while models are fetched.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Returns what would be moved or removed.
    support: full
options:
  path:
    description: Path of the share.
    type: path
    required: true
  share:
    description: Name of the share in its marker.
    type: str
    choices: [comfyui_models, ollama_models]
    required: true
  account:
    description: Account that owns the share.
    type: str
    required: true
  studio_id:
    description: Id of the studio in the share's marker.
    type: str
    required: true
  state:
    description:
      - V(trashed) moves the models of O(names) to the trash, and V(restored) moves them back.
      - V(collected) moves to the trash what neither O(catalogue) nor O(uses) names, and removes what is old there.
        What a manifest of Ollama's names again is moved back.
      - V(listed) returns what lies in the trash.
      - V(unnamed) returns what V(collected) would move if O(uses) named nothing, so that the backend can be asked.
    type: str
    choices: [trashed, restored, collected, listed, unnamed]
    required: true
  names:
    description:
      - Models, by their paths below the share, or by their names in Ollama with their tags. One that is not there is
        returned as V(missing).
    type: list
    elements: str
    default: []
  catalogue:
    description: Paths below the share that the studio's catalogue names.
    type: list
    elements: str
    default: []
  uses:
    description: What names models, as C(noslop-backend model-uses --json) lists it.
    type: list
    elements: dict
    default: []
  folders:
    description: Folders of the share that are looked through for unused models.
    type: list
    elements: str
    default: []
  trash_days:
    description: Days after which files in the trash are removed.
    type: int
    default: 30
  unused_hours:
    description: Hours in which a file must not have changed to count as unused.
    type: float
    default: 24
  run_directory:
    description: Directory of root's, in memory, with the lock of the run that fetches.
    type: path
    default: /run/noslop-models
"""

EXAMPLES = r"""
- name: Move a model to the trash
  noslop.studio.model_trash:
    path: /mnt/noslop/comfyui/models
    share: comfyui_models
    account: noslop-models
    studio_id: "{{ noslop_studio_id }}"
    names: [loras/style.safetensors]
    state: trashed
"""

RETURN = r"""
models:
  description: What was moved or removed, or would be in check mode, or lies in the trash.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: Path below the share, or the name of a model of Ollama's.
      type: str
    state:
      description: V(missing), V(trashed), V(restored), V(removed), or V(in_trash) with O(state=listed).
      type: str
    size:
      description: Size in bytes; of a model of Ollama's that of all its blobs.
      type: int
    removed:
      description: When it came to the trash, in UTC; empty for what was not there.
      type: str
    reason:
      description: Why it is unused; empty for what O(names) has.
      type: str
    uses:
      description: What names it, as in O(uses).
      type: dict
unnamed:
  description: Paths of the files below the share.
  type: list
  elements: str
  returned: with O(state=unnamed)
"""

import os
import time
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import ollama_store, progress, trash, unused
from ansible_collections.noslop.studio.plugins.module_utils.share import access

#: The longest run: reading the names of a large share over a slow disk.
TIMEOUT_S = 1800.0
DAY_S = 86400.0
STATES = ["trashed", "restored", "collected", "listed", "unnamed"]


@dataclass(frozen=True)
class Job:
    """A run of the module on one share. ``is_ollama`` is whether it has Ollama's models; times are in seconds."""

    share: str
    is_ollama: bool
    state: str
    names: list[str]
    check: bool
    now_s: float
    catalogue: list[str] = field(default_factory=list)
    uses: dict[str, Any] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    trash_s: float = 30 * DAY_S
    unused_s: float = DAY_S


def main() -> None:
    """Move the models."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "share": {"type": "str", "required": True, "choices": ["comfyui_models", "ollama_models"]},
            "account": {"type": "str", "required": True},
            "studio_id": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": STATES},
            "names": {"type": "list", "elements": "str", "default": []},
            "catalogue": {"type": "list", "elements": "str", "default": []},
            "uses": {"type": "list", "elements": "dict", "default": []},
            "folders": {"type": "list", "elements": "str", "default": []},
            "trash_days": {"type": "int", "default": 30},
            "unused_hours": {"type": "float", "default": 24},
            "run_directory": {"type": "path", "default": progress.DIRECTORY},
        },
        supports_check_mode=True,
    )
    params = module.params
    owner = access.share_owner(params["account"])
    if module.check_mode and (owner is None or not os.path.isdir(params["path"])):
        module.exit_json(changed=False, models=[], unnamed=[])
    if owner is None:
        module.fail_json(msg=f"There is no account {params['account']} here. Run the playbook storage first.")
    try:
        access.check_marker(params["path"], params["share"], params["studio_id"], owner)
        # Without names, only blobs of Ollama's come back, which no download of files can be about.
        moves = params["names"] or params["state"] == "collected"
        if module.check_mode or not moves:
            is_free = progress.read_holder(params["run_directory"]) is None
        else:
            is_free = progress.Lock(params["run_directory"]).try_to_acquire()
    except (access.ShareError, OSError) as error:
        module.fail_json(msg=str(error))
    if moves and not is_free:
        module.fail_json(
            msg="Models are being fetched now, so nothing was moved. Run this again when that has ended, or end it: "
            "noslop-driver models stop"
        )
    job = Job(
        params["path"],
        params["share"] == "ollama_models",
        params["state"],
        params["names"],
        module.check_mode,
        time.time(),
        params["catalogue"],
        {one["name"]: one for one in params["uses"]},
        params["folders"],
        params["trash_days"] * DAY_S,
        params["unused_hours"] * 3600.0,
    )
    outcome = worker_processes.run_one(lambda: run(job), owner, TIMEOUT_S)
    if outcome.error:
        module.fail_json(msg=f"{params['path']}: {outcome.error}")
    rows, problem = outcome.value
    if params["state"] == "unnamed":
        module.exit_json(changed=False, unnamed=[row["path"] for row in rows])
    result = {"changed": any(row["state"] in ("trashed", "restored", "removed") for row in rows), "models": rows}
    if problem:
        module.fail_json(msg=problem, **result)
    module.exit_json(**result)


def run(job: Job) -> tuple[list[dict[str, Any]], str]:
    """Do what is asked for. Return the rows of the result, and what went wrong; runs as the owner of the share."""
    rows: list[dict[str, Any]] = []
    work = {"trashed": _trash, "restored": _restore, "collected": _collect, "listed": _list, "unnamed": _list_unnamed}[
        job.state
    ]
    try:
        work(job, rows)
    except (trash.TrashError, ollama_store.StoreError, unused.BusyError) as error:
        return rows, str(error)
    except OSError as error:
        return rows, f"{error.filename or job.share}: {error.strerror or error}"
    return rows, ""


def _trash(job: Job, rows: list[dict[str, Any]]) -> None:
    for name in job.names:
        path = _find_path(job, name)
        if not os.path.lexists(os.path.join(job.share, path)):
            rows.append(_make_row(job, name, "missing", 0))
            continue
        paths = [path, *(unused.list_own_blobs(job.share, path) if job.is_ollama else ())]
        size = sum(os.lstat(os.path.join(job.share, one)).st_size for one in paths)
        removed = "" if job.check else trash.move(job.share, paths, job.now_s)[0].removed
        rows.append(_make_row(job, name, "trashed", size, removed=removed))
    _restore_named_blobs(job, rows)


def _restore(job: Job, rows: list[dict[str, Any]]) -> None:
    for name in job.names:
        path = _find_path(job, name)
        newest = next((one for one in reversed(trash.list_all(job.share)) if one.path == path), None)
        if newest is None:
            rows.append(_make_row(job, name, "missing", 0))
            continue
        if not job.check:
            trash.restore(job.share, path)
        rows.append(_make_row(job, name, "restored", newest.size, removed=newest.removed))
    _restore_named_blobs(job, rows)
    if job.is_ollama and not job.check:
        _require_blobs(job)


def _restore_named_blobs(job: Job, rows: list[dict[str, Any]]) -> None:
    """Move back those blobs of Ollama's that a manifest names: of a model that was restored, or pulled meanwhile."""
    for one in unused.find_named_in_trash(job.share) if job.is_ollama else []:
        if not os.path.lexists(os.path.join(job.share, one.path)):
            if not job.check:
                trash.restore(job.share, one.path)
            rows.append(_make_row(job, one.path, "restored", one.size, removed=one.removed, reason="a model names it"))


def _require_blobs(job: Job) -> None:
    """Raise an error where a model that is back lacks a blob."""
    for name in job.names:
        path = os.path.join(job.share, ollama_store.make_manifest_path(name))
        for digest in ollama_store.read_digests(path) if os.path.exists(path) else []:
            if not os.path.exists(os.path.join(job.share, "blobs", f"sha256-{digest}")):
                raise trash.TrashError(f"{name} is back without a part that the trash has no more. Pull it again.")


def _collect(job: Job, rows: list[dict[str, Any]]) -> None:
    _restore_named_blobs(job, rows)
    _remove_old(job, rows)
    before_s = job.now_s - job.unused_s
    if job.is_ollama:
        files, reason = unused.find_blobs(job.share, before_s), "no model of Ollama's has it"
    else:
        used = {*job.catalogue, *(name for name, one in job.uses.items() if one["documents"] or one["media_count"])}
        files = unused.find_files(job.share, used, job.folders, before_s)
        reason = "neither the catalogue nor the backend names it"
    moved = [] if job.check else trash.move(job.share, [one.path for one in files], job.now_s)
    removed = moved[0].removed if moved else ""
    rows += [_make_row(job, one.path, "trashed", one.size, removed=removed, reason=reason) for one in files]
    _restore_named_blobs(job, rows)


def _remove_old(job: Job, rows: list[dict[str, Any]]) -> None:
    """Remove what is old in the trash, and partial downloads that will not go on."""
    old_s = job.now_s - job.trash_s
    old = trash.list_old(job.share, old_s) if job.check else trash.purge(job.share, old_s)
    reason = f"more than {job.trash_s / DAY_S:.0f} days in the trash"
    rows += [_make_row(job, one.path, "removed", one.size, removed=one.removed, reason=reason) for one in old]
    parts = [] if job.is_ollama else unused.find_parts(job.share, job.catalogue, job.now_s - job.unused_s)
    for part in parts:
        if not job.check:
            os.unlink(os.path.join(job.share, part.path))
        reason = "part of a download that the catalogue does not name"
        rows.append(_make_row(job, part.path, "removed", part.size, reason=reason))


def _list(job: Job, rows: list[dict[str, Any]]) -> None:
    rows += [_make_row(job, one.path, "in_trash", one.size, removed=one.removed) for one in trash.list_all(job.share)]


def _list_unnamed(job: Job, rows: list[dict[str, Any]]) -> None:
    files = unused.find_files(job.share, job.catalogue, job.folders, job.now_s - job.unused_s)
    rows += [_make_row(job, one.path, "unnamed", one.size) for one in files]


def _find_path(job: Job, name: str) -> str:
    """Return the path below the share of a model: of one of Ollama's that of its manifest."""
    path = ollama_store.make_manifest_path(name) if job.is_ollama else name
    if os.path.isabs(path) or any(part in ("", ".", "..") or part.startswith(".") for part in path.split("/")):
        raise trash.TrashError(f"{name} is no name of a model.")
    return path


def _make_row(job: Job, path: str, state: str, size: int, *, removed: str = "", reason: str = "") -> dict[str, Any]:
    row = {"path": path, "state": state, "size": size, "removed": removed, "reason": reason}
    return {**row, "uses": job.uses.get(path) or {}}


if __name__ == "__main__":
    main()
