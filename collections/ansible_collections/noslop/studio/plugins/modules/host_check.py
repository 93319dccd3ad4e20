#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check one host before a studio is deployed to it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_check
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Check one host before a studio is deployed to it
description:
  - Checks in one call the system, the accounts, addresses, ports, mount points, disks and exports of a host. Changes
    nothing and needs no package.
  - A check that fails does not fail the module - the results are data.
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Not available, since nothing is changed.
    support: none
options:
  host:
    description: Name of this host in the inventory.
    type: str
    required: true
  provider:
    description: Source of the shares.
    type: str
    choices: [nfs, local, existing]
    default: nfs
  server:
    description: Whether this host is the storage server.
    type: bool
    default: false
  client:
    description: Whether this host mounts the shares.
    type: bool
    default: false
  server_address:
    description: Address of the storage server.
    type: str
    default: ""
  address:
    description: Address of this host in the studio; not checked when empty.
    type: str
    default: ""
  shares:
    description: The shares, as the lookup P(noslop.studio.studio#lookup) returns them.
    type: list
    elements: dict
    required: true
  root:
    description: Directory of the shares that have no path of their own.
    type: path
    default: /mnt/noslop
  studio_id:
    description: Identity of the studio.
    type: str
    default: ""
  accounts:
    description: The accounts, as the lookup P(noslop.studio.studio#lookup) returns them.
    type: list
    elements: dict
    required: true
  require_own_file_system:
    description: Whether a share on a file system with other files is a failure.
    type: bool
    default: false
  users:
    description: Accounts of people who may write to the shares.
    type: list
    elements: str
    default: []
  min_free_gb:
    description: Free space that each share needs, in decimal gigabytes.
    type: float
    default: 50
  ollama:
    description: Whether this host is to run Ollama.
    type: bool
    default: false
  ollama_port:
    description: Port of Ollama.
    type: int
    default: 11434
  ollama_units:
    description: Units that may listen on that port, NoSlop's own and one that is replaced.
    type: list
    elements: str
    default: [noslop-ollama.service, ollama.service]
  comfyui:
    description: Whether this host is to run ComfyUI.
    type: bool
    default: false
  comfyui_port:
    description: Port of ComfyUI.
    type: int
    default: 8188
  comfyui_units:
    description: Units whose hold on that port is no problem.
    type: list
    elements: str
    default: [noslop-comfyui.service]
  backend:
    description: Whether this host is to run the backend.
    type: bool
    default: false
  backend_port:
    description: Port of the backend.
    type: int
    default: 8765
  backend_units:
    description: Units whose hold on that port is no problem.
    type: list
    elements: str
    default: [noslop-backend.service]
  comfyui_existing_dir:
    description: Directory of a ComfyUI that is adopted; its processes may use the port too.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Check the host
  noslop.studio.host_check:
    host: "{{ inventory_hostname }}"
    client: true
    shares: "{{ lookup('noslop.studio.studio', 'shares') }}"
    accounts: "{{ lookup('noslop.studio.studio', 'accounts') }}"
    server_address: 10.77.42.11
"""

RETURN = r"""
checks:
  description: One dictionary a check, with C(host), C(check), C(share), C(ok), C(seen), C(expected) and C(todo).
  type: list
  elements: dict
  returned: always
identity:
  description: Identity of this host - C(machine_id), C(hostname), C(addresses) and C(epoch), its time.
  type: dict
  returned: always
paths:
  description: Paths of the shares by this host's variables.
  type: list
  elements: str
  returned: always
unknown_users:
  description: Those of O(users) that do not exist on the host.
  type: list
  elements: str
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.checks.host_checks import HostChecks


def main() -> None:
    """Run the checks, and return their results."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "provider": {"type": "str", "choices": ["nfs", "local", "existing"], "default": "nfs"},
            "server": {"type": "bool", "default": False},
            "client": {"type": "bool", "default": False},
            "server_address": {"type": "str", "default": ""},
            "address": {"type": "str", "default": ""},
            "shares": {"type": "list", "elements": "dict", "required": True},
            "root": {"type": "path", "default": "/mnt/noslop"},
            "studio_id": {"type": "str", "default": ""},
            "accounts": {"type": "list", "elements": "dict", "required": True},
            "require_own_file_system": {"type": "bool", "default": False},
            "users": {"type": "list", "elements": "str", "default": []},
            "min_free_gb": {"type": "float", "default": 50},
            "ollama": {"type": "bool", "default": False},
            "ollama_port": {"type": "int", "default": 11434},
            "ollama_units": {"type": "list", "elements": "str", "default": ["noslop-ollama.service", "ollama.service"]},
            "comfyui": {"type": "bool", "default": False},
            "comfyui_port": {"type": "int", "default": 8188},
            "comfyui_units": {"type": "list", "elements": "str", "default": ["noslop-comfyui.service"]},
            "backend": {"type": "bool", "default": False},
            "backend_port": {"type": "int", "default": 8765},
            "backend_units": {"type": "list", "elements": "str", "default": ["noslop-backend.service"]},
            "comfyui_existing_dir": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="these are the rights of an ordinary account: run this with become")
    module.exit_json(changed=False, **HostChecks(module.params).run())


if __name__ == "__main__":
    main()
