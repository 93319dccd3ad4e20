#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a host of the studio is doing now.

No ordinary module reads all of it in one call: Ansible would need some thirty tasks a host, and each share or program
that hangs would hang its task. Of the modules here, `service_versions` needs no root, and `deployed_state` judges.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: studio_status
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Read what a host of the studio is doing now
description:
  - Reads the versions of the services and what they do, how busy the graphics cards are, the room that is left, units
    that failed or start over and over with their last errors, and the result of the host's own checks.
  - The services are asked at an address of this host, since the firewall may close their ports to other computers.
  - Everything is read at once, and what does not end in time is named as such.
  - The lines of a journal are cut, and secrets in them are replaced. Needs root for the journal and for the shares.
extends_documentation_fragment:
  - noslop.studio.attributes.reads
options:
  gather:
    description:
      - Whether to read what the host is doing, or the variables that the studio gives its programs, in
        O(node_env_file), and those of the backend where it is one of O(ports).
    type: str
    choices: [activity, environment]
    default: activity
  ports:
    description: Port of each service of this host, by its name.
    type: dict
    default: {}
  listen_addresses:
    description: Address on which each of them listens, by its name. One that listens on all is asked over loopback.
    type: dict
    default: {}
  shares:
    description: Shares of this host, each with C(name), C(path) and C(owner).
    type: list
    elements: dict
    default: []
  studio_id:
    description: Identity of the studio.
    type: str
    default: ""
  server_address:
    description: Address of the storage server, on a host that mounts its shares over NFS.
    type: str
    default: ""
  node_env_file:
    description: File with the variables of the host.
    type: path
    default: /etc/noslop/node.env
  backend_env_file:
    description: File with the variables of the backend.
    type: path
    default: /etc/noslop/backend.env
  timeout:
    description: Seconds after which a part does not count as answering.
    type: float
    default: 7
"""

EXAMPLES = r"""
- name: Read what Ollama and the disk of this host do
  noslop.studio.studio_status:
    ports:
      ollama: 11434
  become: true
"""

RETURN = r"""
studio_status:
  description: What the host is doing.
  type: dict
  returned: when O(gather=activity)
  contains:
    deployed:
      description: Time of the last deployment whose checks all passed, as ISO 8601 in UTC; else empty.
      type: str
    services:
      description:
        - One entry for each service, with C(service), C(version), the state of its C(unit), and a C(problem) where it
          does not answer or is not healthy.
        - Ollama's has C(models) with C(name), C(size) and C(on_gpu) in bytes, ComfyUI's the numbers of jobs C(running)
          and C(waiting).
      type: list
      elements: dict
    gpus:
      description: One entry for each card, with C(name), C(memory_mib), C(used_mib), C(load_percent) and C(problem).
      type: list
      elements: dict
    room:
      description: C(/) and the shares, each with C(name), C(path), C(size) and C(free) in bytes, and C(problem).
      type: list
      elements: dict
    units:
      description: Units that failed or start over and over, with C(unit), C(state), C(restarts) and C(lines).
      type: list
      elements: dict
    problems:
      description: Parts that could not be read.
      type: list
      elements: str
    monitor:
      description: Result of the host's own checks, with C(finished), C(phase) and C(bad).
      type: dict
studio_environment:
  description: Variables of the studio on this host.
  type: dict
  returned: when O(gather=environment)
  contains:
    variables:
      description: Their values, by name.
      type: dict
    secrets:
      description: Names of those whose values are not returned.
      type: list
      elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.status import environment, host_status

#: The addresses that stand for all of a host, and where it is asked then.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared with, not listened on


def main() -> None:
    """Return what the host is doing."""
    module = AnsibleModule(
        argument_spec={
            "gather": {"type": "str", "choices": ["activity", "environment"], "default": "activity"},
            "ports": {"type": "dict", "default": {}},
            "listen_addresses": {"type": "dict", "default": {}},
            "shares": {"type": "list", "elements": "dict", "default": []},
            "studio_id": {"type": "str", "default": ""},
            "server_address": {"type": "str", "default": ""},
            "node_env_file": {"type": "path", "default": studio.NODE_ENV_FILE},
            "backend_env_file": {"type": "path", "default": studio.BACKEND_ENV_FILE},
            "timeout": {"type": "float", "default": 7},
        },
        supports_check_mode=True,
    )
    params = module.params
    unknown = sorted(set(params["ports"]) - set(studio.SERVICES))
    if unknown:
        module.fail_json(msg=f"ports: {', '.join(unknown)} is no service: {', '.join(studio.SERVICES)}")
    if params["gather"] == "environment":
        backend_file = params["backend_env_file"] if "backend" in params["ports"] else ""
        module.exit_json(changed=False, studio_environment=environment.read(params["node_env_file"], backend_file))
    services: list[dict[str, Any]] = []
    for name, port in params["ports"].items():
        address = str(params["listen_addresses"].get(name) or "127.0.0.1").strip("[]")
        services.append({"name": name, "address": LOOPBACK.get(address, address), "port": int(port)})
    request = host_status.Request(
        services, params["shares"], params["studio_id"], params["server_address"], params["timeout"]
    )
    module.exit_json(changed=False, studio_status=host_status.read(request))


if __name__ == "__main__":
    main()
