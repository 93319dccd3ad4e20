#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the daemon of one host pull the models of a studio's catalogue.

``ansible.builtin.uri`` waits for the end of a pull without a sign of progress, and two pulls at once would write to the
same partial files (ollama/ollama, server/download.go).
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_models
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Pull models with Ollama
description:
  - Pulls each model that the daemon does not list. The daemon goes on with what an earlier pull left.
extends_documentation_fragment:
  - noslop.studio.attributes
  - noslop.studio.fetches
attributes:
  check_mode:
    description: Returns which models are missing.
    support: full
options:
  models:
    description: Names of the models, each with its tag.
    type: list
    elements: str
    required: true
  path:
    description: Ollama's directory of models, for O(state=verified).
    type: path
    default: /mnt/noslop/ollama/models
  account:
    description: Account that runs Ollama, for O(state=verified).
    type: str
    default: noslop-ollama
  port:
    description: Port of the daemon on this host.
    type: int
    default: 11434
"""

EXAMPLES = r"""
- name: Pull a model
  noslop.studio.ollama_models:
    models: ["llama3.2:1b"]
"""

RETURN = r"""
models:
  description: The models of the run, each as it is now.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: Name of the model.
      type: str
    state:
      description: V(missing) in check mode, V(present), V(fetched), V(verified) or V(failed).
      type: str
    size:
      description: Size in bytes.
      type: int
    sha256:
      description: Digest of its manifest.
      type: str
    received:
      description: Bytes that came over the network for it in this run.
      type: int
    message:
      description: Why it failed.
      type: str
followed:
  description: Whether another run was pulling first.
  type: bool
  returned: success
running:
  description: The process that pulls now, or none.
  type: int
  returned: with O(state=progress)
"""

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import ollama_store, progress
from ansible_collections.noslop.studio.plugins.module_utils.share import access

#: The longest time without a line. The daemon sends one several times a second, and retries by itself.
SILENCE_S = 600.0


class OllamaError(Exception):
    """The daemon did not do what it was asked for. The message is for the user who has to repair it."""


def main() -> None:
    """Pull the models."""
    module = AnsibleModule(
        argument_spec={
            "models": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "path", "default": "/mnt/noslop/ollama/models"},
            "account": {"type": "str", "default": "noslop-ollama"},
            "port": {"type": "int", "default": 11434},
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
        if state == "verified":
            result = verify_models(module.params)
        else:
            result = pull_models(module.params, check_mode=module.check_mode)
    except (OllamaError, OSError) as error:
        module.fail_json(msg=str(error))
    failed = [row["message"] for row in result["models"] if row["state"] == "failed"]
    if failed:
        module.fail_json(msg="\n".join(failed), **result)
    module.exit_json(**result)


def pull_models(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Pull what the daemon does not list. Return the result of the module."""
    names, port, directory = params["models"], params["port"], params["run_directory"]
    if check_mode:
        listed = _list_models(port)
        rows = [_make_row(name, listed, "present" if name in listed else "missing") for name in names]
        return {"changed": any(row["state"] == "missing" for row in rows), "models": rows, "followed": False}
    lock = progress.Lock(directory)
    followed = lock.acquire()
    listed = _list_models(port)
    shown = progress.Progress([progress.Row(name) for name in names], directory)
    rows = []
    for name in names:
        row = _make_row(name, listed, "present")
        if name not in listed:
            try:
                received = _pull(name, port, shown)
                listed = _list_models(port)
                row = {**_make_row(name, listed, "fetched"), "received": received}
            except OllamaError as error:
                row.update(state="failed", message=str(error))
        shown.end(name, row["state"], row["message"])
        rows.append(row)
    return {"changed": any(row["state"] == "fetched" for row in rows), "models": rows, "followed": followed}


def verify_models(params: dict[str, Any]) -> dict[str, Any]:
    """Read the blobs of each model, and compare them with their names. Return the result of the module."""
    owner = access.share_owner(params["account"])
    if owner is None:
        raise OllamaError(f"There is no account {params['account']} here. Run the playbook storage first.")
    lock = progress.Lock(params["run_directory"])
    followed = lock.acquire()
    listed = _list_models(params["port"])
    shown = progress.Progress([progress.Row(name) for name in params["models"]], params["run_directory"])
    rows = {name: _make_row(name, listed, "verified") for name in params["models"]}

    def work(send: Callable[[Any], None]) -> None:
        for name in params["models"]:
            try:
                ollama_store.verify(name, params["path"], lambda *values: send(["received", *values]))
                send(["ended", name, {}])
            except ollama_store.StoreError as error:
                send(["ended", name, {"state": "failed", "message": str(error)}])

    for kind, name, *values in worker_processes.stream(work, owner, [lock.descriptor]):
        if kind == "received":
            shown.update(name, *values)
            continue
        rows[name].update(values[0])
        if name not in listed and rows[name]["state"] != "failed":
            rows[name].update(state="failed", message=f"{name} is there, and Ollama does not list it")
        shown.end(name, rows[name]["state"], rows[name]["message"])
    return {"changed": False, "models": list(rows.values()), "followed": followed}


def _pull(name: str, port: int, shown: progress.Progress) -> int:
    """Pull a model. Return the bytes of its parts that came over the network."""
    totals: dict[str, int] = {}
    completed: dict[str, int] = {}
    first: dict[str, int] = {}
    for line in _request(port, "POST", "/api/pull", {"model": name}):
        if line.get("error"):
            raise OllamaError(f"Ollama cannot pull {name}: {line['error']}")
        digest = line.get("digest")
        if digest and line.get("total"):
            totals[digest] = int(line["total"])
            completed[digest] = int(line.get("completed") or 0)
            first.setdefault(digest, completed[digest])
            shown.update(name, sum(completed.values()), sum(totals.values()))
    if name not in _list_models(port):
        raise OllamaError(f"Ollama pulled {name}, and does not list it. Look at its log: journalctl -u noslop-ollama")
    return sum(completed.values()) - sum(first.values())


def _list_models(port: int) -> dict[str, dict[str, Any]]:
    """Return what the daemon lists, by name."""
    answers = list(_request(port, "GET", "/api/tags"))
    return {str(model["name"]): model for answer in answers for model in answer.get("models") or []}


def _request(port: int, method: str, path: str, body: object = None) -> Iterator[dict[str, Any]]:
    """Send a request to the daemon, and yield the objects of its answer, one a line."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SILENCE_S)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Host": "127.0.0.1"})
        for line in connection.getresponse():
            if line.strip():
                yield json.loads(line)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OllamaError(
            f"Ollama does not answer on port {port} of this host: {error}. Run: systemctl status noslop-ollama"
        ) from error
    finally:
        connection.close()


def _make_row(name: str, listed: dict[str, dict[str, Any]], state: str) -> dict[str, Any]:
    model = listed.get(name, {})
    row = {"path": name, "state": state, "message": "", "received": 0}
    return {**row, "size": int(model.get("size") or 0), "sha256": str(model.get("digest") or "")}


if __name__ == "__main__":
    main()
