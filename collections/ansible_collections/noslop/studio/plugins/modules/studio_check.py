#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check one host of a studio: before it is deployed, and that it works."""

from __future__ import annotations

DOCUMENTATION = r"""
module: studio_check
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Check one host of a studio, before it is deployed or that it works
description:
  - Runs every check of one host in one call. With C(preflight) it checks the system, the accounts, addresses, ports,
    mount points, disks and exports of a host before a studio is deployed to it, changes nothing, and needs no package.
  - The check across hosts that a studio works needs three calls - each host writes a nonce into each share (C(write)),
    each host reads the nonces of all others and makes the other checks (C(read)), and each host removes its files
    (C(cleanup)).
  - C(evidence) checks nothing. It returns the state of the host that shows why a check failed, within ten seconds.
  - Shares are accessed by worker processes that run as the owner of the share and are killed when they do not answer
    in time. A check that fails does not fail the module - the results are data.
  - In check mode nothing is written, and the check across hosts is skipped.
attributes:
  check_mode:
    description: Makes the other checks, and writes no nonce.
    support: full
  diff_mode:
    description: Not available, since nothing is changed.
    support: none
options:
  phase:
    description: Phase to run.
    type: str
    choices: [preflight, write, read, cleanup, evidence]
    required: true
  host:
    description: Name of this host in the inventory.
    type: str
    required: true
  address:
    description: >-
      Address of this host in the studio. When it is empty, C(preflight) checks none, and the other phases use loopback.
    type: str
    default: ""
  scope:
    description: Parts of the studio to check.
    type: list
    elements: str
    choices: [storage, services]
    default: [storage, services]
  shares:
    description: The shares, as the lookup P(noslop.studio.studio#lookup) returns them.
    type: list
    elements: dict
    required: true
  root:
    description: Directory of the shares that have no path of their own.
    type: path
    default: /mnt/noslop
  provider:
    description: Source of the shares.
    type: str
    choices: [nfs, local, existing]
    default: nfs
  transport:
    description: How NFS is transported - without TLS, with it, or with it and a certificate of each host.
    type: str
    choices: [plain, tls, mtls]
    default: plain
  tls_files:
    description: >-
      The certificates of this host where they are the user's own - paths by C(authority), C(certificate) and C(key).
    type: dict
    default: {}
  server:
    description: Whether this host is the storage server.
    type: bool
    default: false
  smb:
    description: Whether this host serves the shares to Windows and macOS.
    type: bool
    default: false
  smb_shares:
    description: The shares that it serves, each with C(name), C(path), C(owner) and C(writable).
    type: list
    elements: dict
    default: []
  smb_users:
    description: Names of those who may use them.
    type: list
    elements: str
    default: []
  smb_networks:
    description: Networks whose machines may connect, besides the members.
    type: list
    elements: str
    default: []
  smb_encryption:
    description: Whether clients that cannot encrypt may connect.
    type: str
    choices: [offered, required]
    default: offered
  smb_ports:
    description: Ports that these networks may reach.
    type: list
    elements: int
    default: [445]
  client:
    description: Whether this host mounts the shares. Used by C(preflight).
    type: bool
    default: false
  server_address:
    description: Address of the storage server.
    type: str
    default: ""
  server_threads:
    description: Least number of threads of nfsd.
    type: int
    default: 8
  clients:
    description: Addresses that the shares are exported to.
    type: list
    elements: str
    default: []
  members:
    description: Addresses of all hosts of the studio, which the firewall accepts.
    type: list
    elements: str
    default: []
  studio_id:
    description: Identity of the studio, which each share's marker names. Only C(preflight) works without it.
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
    description: Accounts of people who may write to the shares. Used by C(preflight).
    type: list
    elements: str
    default: []
  min_free_gb:
    description: Free space that each share should have, in decimal gigabytes.
    type: float
    default: 50
  read_ahead_kb:
    description: Least read-ahead of shares with models on clients, in KiB.
    type: int
    default: 15360
  mount_options:
    description: Mount options of every share on clients, as the role C(nfs_client) requests them.
    type: str
    default: ""
  models_options:
    description: Further mount options of shares with models on clients.
    type: str
    default: ""
  quiet_units:
    description: Helper units of NFSv3 that must not listen; nothing is checked when empty.
    type: list
    elements: str
    default: []
  firewall_enabled:
    description: Whether the studio's firewall should be loaded.
    type: bool
    default: true
  announce:
    description: Whether the services of this host are announced by multicast DNS.
    type: bool
    default: false
  allowed_networks:
    description: Networks besides the members that may use the services.
    type: list
    elements: str
    default: []
  ollama:
    description: Whether this host runs Ollama.
    type: bool
    default: false
  ollama_port:
    description: Port of Ollama.
    type: int
    default: 11434
  ollama_unit:
    description: The systemd unit of Ollama.
    type: str
    default: noslop-ollama.service
  comfyui:
    description: Whether this host runs ComfyUI.
    type: bool
    default: false
  comfyui_port:
    description: Port of ComfyUI.
    type: int
    default: 8188
  comfyui_unit:
    description: The systemd unit of ComfyUI.
    type: str
    default: noslop-comfyui.service
  backend:
    description: Whether this host runs the backend.
    type: bool
    default: false
  backend_port:
    description: Port of the backend.
    type: int
    default: 8765
  backend_unit:
    description: The systemd unit of the backend.
    type: str
    default: noslop-backend.service
  ollama_units:
    description: Units that may listen on that port in C(preflight), NoSlop's own and one that is replaced.
    type: list
    elements: str
    default: [noslop-ollama.service, ollama.service]
  comfyui_units:
    description: Units that may listen on that port in C(preflight).
    type: list
    elements: str
    default: [noslop-comfyui.service]
  backend_units:
    description: Units that may listen on that port in C(preflight).
    type: list
    elements: str
    default: [noslop-backend.service]
  comfyui_existing_dir:
    description: Directory of a ComfyUI that is adopted; its processes may use the port in C(preflight) too.
    type: str
    default: ""
  pythons:
    description: >-
      The Python of C(comfyui) and C(backend), by service - C(program), its name or path, and C(oldest), the oldest
      version that the service runs with; empty is any. Used by C(preflight).
    type: dict
    default: {}
  release_problems:
    description: >-
      Why the release of a service may not be installed, a list by service - C(text) and C(todo), as the lookup
      P(noslop.studio.release#lookup) returns them. Used by C(preflight).
    type: dict
    default: {}
  comfyui_torch_index:
    description: The build of PyTorch that the user chose, by the name of its index; empty for the one for the GPUs.
    type: str
    default: ""
  peers:
    description: Result RV(written) of C(write) on each host, by host name. Needed by C(read).
    type: dict
    default: {}
  run_id:
    description: C(run_id) in the result RV(written) of C(write) on this host. Needed by C(cleanup).
    type: str
    default: ""
  model_files:
    description: Paths of the catalogue's files below the share of ComfyUI's models.
    type: list
    elements: str
    default: []
  ollama_models:
    description: Names of the catalogue's models of Ollama, each with its tag.
    type: list
    elements: str
    default: []
  monitor:
    description: Whether this host checks itself by a timer, as C(read) is to verify.
    type: bool
    default: false
  timeout:
    description: >-
      Seconds after which a share counts as not answering. A server that was restarted lets its clients wait for 90.
    type: float
    default: 120
  bound:
    description: >-
      Seconds after which C(read) ends, with what is not checked by then as a failed check. Zero is no such bound.
    type: float
    default: 0
"""

EXAMPLES = r"""
- name: Check the host before the deployment
  noslop.studio.studio_check:
    phase: preflight
    host: "{{ inventory_hostname }}"
    client: true
    shares: "{{ lookup('noslop.studio.studio', 'shares') }}"
    accounts: "{{ lookup('noslop.studio.studio', 'accounts') }}"
    server_address: 10.77.42.11

- name: Write a nonce into each share
  noslop.studio.studio_check:
    phase: write
    host: "{{ inventory_hostname }}"
    studio_id: 3d1c8a52-7a3e-4a57-9d0a-1f0a5f6f0c55
    shares: "{{ lookup('noslop.studio.studio', 'shares') }}"
    accounts: "{{ lookup('noslop.studio.studio', 'accounts') }}"
    server_address: 10.77.42.11
  register: written

- name: Gather what shows why a check of the host failed
  noslop.studio.studio_check:
    phase: evidence
    host: "{{ inventory_hostname }}"
    shares: "{{ lookup('noslop.studio.studio', 'shares') }}"
    accounts: "{{ lookup('noslop.studio.studio', 'accounts') }}"
    server_address: 10.77.42.11
    ollama: true
"""

RETURN = r"""
written:
  description: Data for the checks of the other hosts.
  type: dict
  returned: when O(phase=write)
checks:
  description: One dictionary a check, with C(host), C(check), C(share), C(ok), C(seen), C(expected) and C(todo).
  type: list
  elements: dict
  returned: when O(phase=read) or O(phase=preflight)
identity:
  description: Identity of this host - C(machine_id), C(hostname), C(addresses) and C(epoch), its time.
  type: dict
  returned: when O(phase=preflight)
paths:
  description: Paths of the shares by this host's variables.
  type: list
  elements: str
  returned: when O(phase=preflight)
unknown_users:
  description: Those of O(users) that do not exist on the host.
  type: list
  elements: str
  returned: when O(phase=preflight)
deployed:
  description: Whether any part of a studio is deployed on this host.
  type: bool
  returned: when O(phase=read)
evidence:
  description: >-
    What shows why a check failed - C(units), C(ports), C(way) to the storage server, C(mounts), C(disks), C(exports),
    C(firewall), C(clock) and more, as the host has them.
  type: dict
  returned: when O(phase=evidence)
removed:
  description: Files that were removed.
  type: list
  elements: str
  returned: when O(phase=cleanup)
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.bounded import read_within
from ansible_collections.noslop.studio.plugins.module_utils.checks.host_checks import HostChecks
from ansible_collections.noslop.studio.plugins.module_utils.checks.verification import Verification
from ansible_collections.noslop.studio.plugins.module_utils.evidence.gather import gather


def main() -> None:
    """Run one phase, and return its results."""
    module = AnsibleModule(
        argument_spec={
            "phase": {
                "type": "str",
                "choices": ["preflight", "write", "read", "cleanup", "evidence"],
                "required": True,
            },
            "host": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "scope": {
                "type": "list",
                "elements": "str",
                "choices": ["storage", "services"],
                "default": ["storage", "services"],
            },
            "shares": {"type": "list", "elements": "dict", "required": True},
            "root": {"type": "path", "default": studio.STORAGE_ROOT},
            "provider": {"type": "str", "choices": list(studio.PROVIDERS), "default": "nfs"},
            "transport": {"type": "str", "choices": list(studio.NFS_TRANSPORTS), "default": "plain"},
            "tls_files": {"type": "dict", "default": {}},
            "server": {"type": "bool", "default": False},
            "announce": {"type": "bool", "default": False},
            "smb": {"type": "bool", "default": False},
            "smb_shares": {"type": "list", "elements": "dict", "default": []},
            "smb_users": {"type": "list", "elements": "str", "default": []},
            "smb_networks": {"type": "list", "elements": "str", "default": []},
            "smb_encryption": {"type": "str", "choices": list(studio.SMB_ENCRYPTION), "default": "offered"},
            "smb_ports": {"type": "list", "elements": "int", "default": [studio.SMB_PORT]},
            "client": {"type": "bool", "default": False},
            "server_address": {"type": "str", "default": ""},
            "server_threads": {"type": "int", "default": 8},
            "clients": {"type": "list", "elements": "str", "default": []},
            "members": {"type": "list", "elements": "str", "default": []},
            "studio_id": {"type": "str", "default": ""},
            "accounts": {"type": "list", "elements": "dict", "required": True},
            "require_own_file_system": {"type": "bool", "default": False},
            "users": {"type": "list", "elements": "str", "default": []},
            "min_free_gb": {"type": "float", "default": 50},
            "read_ahead_kb": {"type": "int", "default": studio.READ_AHEAD_KB},
            "mount_options": {"type": "str", "default": ""},
            "models_options": {"type": "str", "default": ""},
            "quiet_units": {"type": "list", "elements": "str", "default": []},
            "firewall_enabled": {"type": "bool", "default": True},
            "allowed_networks": {"type": "list", "elements": "str", "default": []},
            "ollama": {"type": "bool", "default": False},
            "ollama_port": {"type": "int", "default": studio.SERVICES["ollama"].port},
            "ollama_unit": {"type": "str", "default": studio.SERVICES["ollama"].unit},
            "comfyui": {"type": "bool", "default": False},
            "comfyui_port": {"type": "int", "default": studio.SERVICES["comfyui"].port},
            "comfyui_unit": {"type": "str", "default": studio.SERVICES["comfyui"].unit},
            "backend": {"type": "bool", "default": False},
            "backend_port": {"type": "int", "default": studio.SERVICES["backend"].port},
            "backend_unit": {"type": "str", "default": studio.SERVICES["backend"].unit},
            "ollama_units": {
                "type": "list",
                "elements": "str",
                "default": [studio.SERVICES["ollama"].unit, "ollama.service"],
            },
            "comfyui_units": {"type": "list", "elements": "str", "default": [studio.SERVICES["comfyui"].unit]},
            "backend_units": {"type": "list", "elements": "str", "default": [studio.SERVICES["backend"].unit]},
            "comfyui_existing_dir": {"type": "str", "default": ""},
            "pythons": {"type": "dict", "default": {}},
            "release_problems": {"type": "dict", "default": {}},
            "comfyui_torch_index": {"type": "str", "default": ""},
            "peers": {"type": "dict", "default": {}},
            "run_id": {"type": "str", "default": ""},
            "model_files": {"type": "list", "elements": "str", "default": []},
            "ollama_models": {"type": "list", "elements": "str", "default": []},
            "monitor": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 120},
            "bound": {"type": "float", "default": 0},
        },
        required_if=[("phase", phase, ["studio_id"]) for phase in ("write", "read", "cleanup")],
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="the checks run as several accounts and read other processes: run this with become")
    params = module.params
    if params["phase"] == "preflight":
        module.exit_json(changed=False, **HostChecks(params).run())
    options = {**params, "address": params["address"] or "127.0.0.1"}
    if params["phase"] == "evidence":
        module.exit_json(changed=False, evidence=gather(options))
    if params["phase"] == "read" and params["bound"] > 0:
        module.exit_json(changed=False, **read_within(options, params["bound"], writes=not module.check_mode))
    verification = Verification(options, writes=not module.check_mode)
    phases = {"write": verification.write, "read": verification.read, "cleanup": verification.cleanup}
    module.exit_json(changed=False, **phases[params["phase"]]())


if __name__ == "__main__":
    main()
