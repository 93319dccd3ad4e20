#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what a host is like after its deployment, and compare it with that.

No ordinary module reads all that a deployment manages in one call: Ansible would need some hundred tasks a host.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: deployed_state
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Record what a host is like after its deployment, and compare it with that
description:
  - With C(recorded), reads what a deployment manages on this host - files, programs, units, accounts, packages, shares,
    and the state of the kernel - and writes it to a file of root's, with the fingerprint of the deployment.
  - With C(compared), returns the fingerprint, makes the checks that a host can make by itself, and checks that all of
    that is as it was recorded. A check that fails does not fail the module - the results are data.
  - With C(absent), removes the record, so that the next deployment does everything.
  - M(noslop.studio.studio_lease) replaces the record of the storage server by the name of the run that acquires the
    lease. There, only that run may write a new record, so one that changed the studio meanwhile is never overlooked.
  - Never reports a change, since a record is no part of what is deployed.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Writes and removes no record, writes nothing to a share, and compares.
    support: full
  action:
    description: The controller describes the run.
    support: full
options:
  state:
    description: Task to do.
    type: str
    choices: [recorded, compared, absent]
    required: true
  deployment:
    description: Identity of the deployment, the same for all hosts. Needed by C(recorded).
    type: str
  fingerprint:
    description: Checksums of what decided the deployment, by name. Needed by C(recorded).
    type: dict
  options:
    description: Parameters of M(noslop.studio.studio_check) for this host. Needed by C(recorded).
    type: dict
  leased:
    description: Whether this host has the studio's lease, so that another run would have replaced its record.
    type: bool
    default: false
  path:
    description: File with the record.
    type: path
    default: /var/lib/noslop/deployed.json
  timeout:
    description: Seconds after which a share or a service does not count as answering.
    type: float
    default: 30
  run:
    description: Description of the run. Set by the action plugin.
    type: dict
"""

EXAMPLES = r"""
- name: Compare the host with what it was after its last deployment
  noslop.studio.deployed_state:
    state: compared
  become: true

- name: Let the next deployment do everything
  noslop.studio.deployed_state:
    state: absent
  become: true
"""

RETURN = r"""
recorded:
  description: Whether the record was written. It is not where another run acquired the studio's lease meanwhile.
  type: bool
  returned: when O(state=recorded)
deployment:
  description: Identity of the recorded deployment; empty where there is no record.
  type: str
  returned: when O(state=compared)
fingerprint:
  description: Checksums of what decided the recorded deployment.
  type: dict
  returned: when O(state=compared)
finished:
  description: Time of the record, as ISO 8601 in UTC.
  type: str
  returned: when O(state=compared)
checks:
  description: One dictionary a check, with C(host), C(check), C(share), C(ok), C(seen), C(expected) and C(todo).
  type: list
  elements: dict
  returned: when O(state=compared)
"""

import secrets
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.deployed import comparison, record, snapshot
from ansible_collections.noslop.studio.plugins.module_utils.deployed.host_look import HostLook

KEY_BYTES = 32


def main() -> None:
    """Record, compare or remove."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["recorded", "compared", "absent"], "required": True},
            "deployment": {"type": "str"},
            "fingerprint": {"type": "dict"},
            "options": {"type": "dict"},
            "leased": {"type": "bool", "default": False},
            "path": {"type": "path", "default": record.PATH},
            "timeout": {"type": "float", "default": 30},
            "run": {"type": "dict"},
        },
        required_if=[("state", "recorded", ["deployment", "fingerprint", "options"])],
        supports_check_mode=True,
    )
    params = module.params
    try:
        if params["state"] == "absent":
            if not module.check_mode:
                record.remove(params["path"])
            module.exit_json(changed=False)
        if params["state"] == "recorded":
            module.exit_json(changed=False, recorded=not module.check_mode and write_record(params))
        module.exit_json(changed=False, **compare(params, writes=not module.check_mode))
    except OSError as error:
        path = error.filename or params["path"]
        module.fail_json(msg=f"What was deployed here cannot be {params['state']}: {path}: {error.strerror}")


def write_record(params: dict[str, Any]) -> bool:
    """Write the record. Return False where another run acquired the studio's lease meanwhile."""
    run = params["run"]["run"]
    if params["leased"] and record.read_run(params["path"]) != run:
        return False
    key = secrets.token_bytes(KEY_BYTES)
    look = HostLook(params["options"], params["timeout"])
    state = snapshot.read_state(params["options"], look.owners, key, params["timeout"])
    # Reading needs a while.
    if params["leased"] and record.read_run(params["path"]) != run:
        return False
    record.write(
        record.Deployed(
            deployment=params["deployment"],
            fingerprint=params["fingerprint"],
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            options=params["options"],
            key=key.hex(),
            state=state,
        ),
        params["path"],
    )
    return True


def compare(params: dict[str, Any], *, writes: bool) -> dict[str, Any]:
    """Compare this host with its record, and return what the module returns."""
    deployed = record.read(params["path"])
    if deployed is None:
        return {"deployment": "", "fingerprint": {}, "finished": "", "checks": []}
    look = HostLook(deployed.options, params["timeout"])
    checks = look.make_checks(writes=writes)
    # After the checks, which trigger the automounts.
    state = snapshot.read_state(deployed.options, look.owners, bytes.fromhex(deployed.key), params["timeout"])
    comparison.judge(checks, deployed.state, state)
    return {
        "deployment": deployed.deployment,
        "fingerprint": deployed.fingerprint,
        "finished": deployed.finished,
        "checks": checks.list,
    }


if __name__ == "__main__":
    main()
