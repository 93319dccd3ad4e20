#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Acquire or release the lease that allows one controller to change a studio.

``ansible.builtin.file`` can make a lock, but not renew it, end it with the process that took it, or say who has it.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: studio_lease
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Acquire or release the lease that allows one controller to change a studio
description:
  - Acquires a lease on the storage server, or fails with the run that has it, since when, and the next step.
  - A run is the driver's command, or one ansible-playbook. Acquiring again renews. A run whose process has ended on the
    same controller is replaced at once; on another controller its lease ends two hours after it was last renewed.
  - Whoever acquires it may change the studio, so it replaces what M(noslop.studio.deployed_state) recorded on this host
    by the name of the run. The next deployment then does everything.
  - Never reports a change, since a lease is no part of what is deployed.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Fails when another run has the lease, and does not acquire it.
    support: full
  action:
    description: The controller describes the run, and decides whether the process of another one has ended.
    support: full
options:
  state:
    description: Desired state of the lease.
    type: str
    choices: [acquired, released]
    default: acquired
  last:
    description:
      - Whether this is the last playbook of a run. With V(false), O(state=released) keeps the lease where the driver
        runs the playbook, since another one follows.
    type: bool
    default: true
  override:
    description: Whether to acquire or release the lease of another run.
    type: bool
    default: false
  directory:
    description: Directory of the lease.
    type: path
    default: /run/noslop-lease
  record:
    description: Record of the last deployment, which is replaced. Nothing is done where its directory is missing.
    type: path
    default: /var/lib/noslop/deployed.json
  run:
    description: Description of the run. Set by the action plugin.
    type: dict
  replaces:
    description: A run whose process has ended. Set by the action plugin.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Acquire the studio's lease
  noslop.studio.studio_lease:
  become: true
"""

RETURN = r"""
lease:
  description: Lease of the other run.
  returned: failure
  type: dict
"""

import time
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.deployed import record
from ansible_collections.noslop.studio.plugins.module_utils.host import lease


def main() -> None:
    """Acquire or release the lease."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["acquired", "released"], "default": "acquired"},
            "last": {"type": "bool", "default": True},
            "override": {"type": "bool", "default": False},
            "directory": {"type": "path", "default": lease.DIRECTORY},
            "record": {"type": "path", "default": record.PATH},
            "run": {"type": "dict"},
            "replaces": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    run, now, override = lease.Run(**params["run"]), time.time(), params["override"]
    other = None
    try:
        if module.check_mode:
            current = lease.read(params["directory"]) if params["state"] == "acquired" and not override else None
            if current and current.run.run not in (run.run, params["replaces"]) and current.is_valid(now):
                other = current
        elif params["state"] == "released":
            lease.release(params["directory"], run, override=override)
        else:
            other = lease.acquire(params["directory"], run, now, replaces=params["replaces"], override=override)
            if not other:
                record.invalidate(run.run, params["record"])
    except (lease.LeaseError, OSError) as error:
        module.fail_json(msg=f"{params['directory']}: {error}")
    if other:
        module.fail_json(msg=other.refusal(now), lease=asdict(other))
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
