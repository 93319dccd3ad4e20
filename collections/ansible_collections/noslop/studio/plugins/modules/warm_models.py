#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read models of a studio's shares into the memory of a host.

A task that runs ``vmtouch`` or ``cat`` has no limit for all models together, reads what does not fit as far as it goes,
and does not return what of each model is in memory.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: warm_models
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Keep models in the memory of a host
description:
  - Reads each model into the page cache, as the account that owns its share, and only what is not there yet.
  - A model that does not fit into O(memory_percent) with those before it is not read.
  - Nothing is locked in memory. The kernel frees these pages first when programs need the memory.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Returns what is in memory, and reads nothing.
    support: full
options:
  models:
    description: The models, in order, as the lookup P(noslop.studio.studio#lookup) returns them.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path of a file below the share of ComfyUI's models.
        type: str
        default: ""
      ollama:
        description: Name of a model of Ollama's, with its tag.
        type: str
        default: ""
  shares:
    description:
      - The shares C(comfyui_models) and C(ollama_models), each with C(name), C(path) and C(owner).
      - Where this host has a cache, also with C(view), the directory that programs read in place of C(path).
    type: list
    elements: dict
    required: true
  studio_id:
    description: Id of the studio in the shares' markers.
    type: str
    required: true
  memory_percent:
    description: How much of the memory that programs could have now all models together may use.
    type: float
    default: 50
  state:
    description:
      - V(warm) reads the models into memory.
      - V(timed) reads each model twice, first while nothing of it is in memory, and returns how long that took.
      - V(evicted) lets the kernel forget what of them is in memory, as on the storage server before another host is
        timed.
    type: str
    choices: [warm, timed, evicted]
    default: warm
"""

EXAMPLES = r"""
- name: Keep a model in memory
  noslop.studio.warm_models:
    studio_id: "{{ noslop_studio_id }}"
    shares: "{{ lookup('noslop.studio.studio', 'shares', 'comfyui_models', 'ollama_models') }}"
    models:
      - path: checkpoints/painter.safetensors
"""

RETURN = r"""
warm:
  description: The models, each as it is now.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: Path below the share, or name in Ollama.
      type: str
    state:
      description: >-
        V(warm) as a whole, V(partly) or V(cold); V(no_room) where it does not fit; V(missing) where it is not on the
        share; V(failed) where it could not be read.
      type: str
    size:
      description: Size in bytes.
      type: int
    resident:
      description: Bytes of it that are in memory.
      type: int
    read:
      description: Bytes that this run read.
      type: int
    message:
      description: Why it is not warm.
      type: str
times:
  description: How long it takes to read each model.
  type: list
  elements: dict
  returned: with O(state=timed)
  contains:
    path:
      description: Path below the share, or name in Ollama.
      type: str
    size:
      description: Size in bytes.
      type: int
    cold_s:
      description: Seconds while nothing of it was in memory.
      type: float
    warm_s:
      description: Seconds while all of it was.
      type: float
    kept_bytes:
      description: Bytes that stayed in memory for the first time, because a program uses them.
      type: int
    message:
      description: Why it could not be read.
      type: str
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import jobs, load_speed, warm
from ansible_collections.noslop.studio.plugins.module_utils.share import access


def main() -> None:
    """Read the models."""
    module = AnsibleModule(
        argument_spec={
            "models": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"path": {"type": "str", "default": ""}, "ollama": {"type": "str", "default": ""}},
            },
            "shares": {"type": "list", "elements": "dict", "required": True},
            "studio_id": {"type": "str", "required": True},
            "memory_percent": {"type": "float", "default": 50},
            "state": {"type": "str", "choices": ["warm", "timed", "evicted"], "default": "warm"},
        },
        supports_check_mode=True,
    )
    params = module.params
    models = jobs.parse_models(params["models"])
    state = params["state"]
    try:
        shares = jobs.open_shares(params["shares"], params["studio_id"], [model.share for model in models])
    except access.ShareError as error:
        if module.check_mode:  # a fresh host has no shares yet
            module.exit_json(changed=False, warm=[], times=[])
        module.fail_json(msg=str(error))
    if state != "warm":
        times = [] if module.check_mode else _visit_all(models, shares, state)
        module.exit_json(changed=False, warm=[], times=times)
    limit_bytes = warm.read_limit(params["memory_percent"])
    if module.check_mode:
        rows = warm.measure(models, shares)
        changed = any(row.state != warm.WARM for row in warm.choose(rows, limit_bytes))
    else:
        rows = warm.warm(models, shares, limit_bytes)
        changed = any(row.read for row in rows)
    result = {"changed": changed, "warm": [asdict(row) for row in rows]}
    failed = [f"{row.path}: {row.message}" for row in rows if row.state == warm.FAILED]
    if failed:
        module.fail_json(msg="\n".join(failed), **result)
    module.exit_json(**result)


def _visit_all(models: Sequence[warm.Model], shares: Mapping[str, warm.Share], state: str) -> list[dict[str, Any]]:
    """Measure each model, or let the kernel forget it, as the account that owns its share. Return the times."""
    times = []
    for model in models:
        share = shares[model.share]

        def work(send: Callable[[Any], None], model: warm.Model = model, path: str = share.path) -> None:
            if state == "evicted":
                load_speed.evict(model, path)
            else:
                send(asdict(load_speed.measure(model, path)))

        try:
            times += list(worker_processes.stream(work, share.account))
        except OSError as error:
            times.append(asdict(load_speed.Times(model.name, message=str(error))))
    return times


if __name__ == "__main__":
    main()
