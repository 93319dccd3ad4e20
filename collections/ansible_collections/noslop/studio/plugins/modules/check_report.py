# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_report
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Make one report of the checks of all hosts of a studio
description:
  - Collects on the controller the results of M(noslop.studio.studio_check) of each host, prints what a user should
    read, and returns a report. Runs nothing on a host.
  - Before a deployment it also checks the studio as a whole.
  - A host without a result is a failed check. The task itself does not fail when a check failed; the caller decides.
attributes:
  check_mode:
    description: A host where nothing is deployed yet is reported in one line by the stage C(verification).
    support: full
  diff_mode:
    description: Not available, since nothing is changed.
    support: none
  action:
    description: Runs on the controller only.
    support: full
options:
  stage:
    description: >-
      Whether the checks were made before a deployment, verify a studio, or prove storage that is shared already
      (M(noslop.studio.existing_storage)).
    type: str
    choices: [preflight, verification, probe]
    required: true
  hosts:
    description: All hosts that should have results.
    type: list
    elements: str
    required: true
  studio_id:
    description: Identity of the studio.
    type: str
    default: ""
  path:
    description: File for the report as JSON on the controller, none when empty.
    type: str
    default: ""
  provider:
    description: Source of the shares. Used by C(preflight), as the options below it.
    type: str
    default: nfs
  servers:
    description: Hosts that serve the storage.
    type: list
    elements: str
    default: []
  clients:
    description: Hosts that mount it.
    type: list
    elements: str
    default: []
  services:
    description: Name of each service to the hosts that run it.
    type: dict
    default: {}
  transport:
    description: How NFS is transported, as C(noslop_nfs_transport) has it.
    type: str
    default: plain
  insecure_clients:
    description: Addresses of Macs that mount the shares over NFS, as C(nfs_server_insecure_clients) has them.
    type: list
    elements: str
    default: []
  users:
    description: Accounts of people who may write to the shares.
    type: list
    elements: str
    default: []
  allowed_networks:
    description: Networks besides the members that may use the services.
    type: list
    elements: str
    default: []
  custom_nodes:
    description: The studio's list of custom nodes, as C(noslop_custom_nodes) has it.
    type: raw
    default: []
  models:
    description: The studio's catalogue of models, as C(noslop_models) has it.
    type: raw
    default: []
  extra_shares:
    description: The shares beyond the studio's own, as C(noslop_extra_shares) has them.
    type: raw
    default: []
  caches:
    description: The cache of models of each host, by its name, as C(noslop_models_cache) has it.
    type: dict
    default: {}
  storage_paths:
    description: The storage root and the paths of the shares, which no cache may lie in.
    type: list
    elements: str
    default: []
  webhook:
    description: The address that hosts inform of what turned bad, as C(noslop_monitor_webhook) has it.
    type: raw
    default: {}
  shares:
    description: The shares, as the lookup P(noslop.studio.studio#lookup) returns them. Used by C(probe).
    type: list
    elements: dict
    default: []
  accounts:
    description: The accounts, as the lookup P(noslop.studio.studio#lookup) returns them. Used by C(probe).
    type: list
    elements: dict
    default: []
  asked:
    description: Time of the controller before the checks of the hosts, in seconds since 1970. C(preflight) needs it.
    type: float
"""

EXAMPLES = r"""
- name: Report what prevents a deployment
  noslop.studio.check_report:
    stage: preflight
    hosts: "{{ ansible_play_hosts_all }}"
    studio_id: "{{ noslop_studio_id }}"
    servers: "{{ groups['storage_server'] }}"
    clients: "{{ groups['storage_clients'] }}"
    asked: "{{ began }}"
  run_once: true

- name: Report whether the studio works
  noslop.studio.check_report:
    stage: verification
    hosts: "{{ ansible_play_hosts_all }}"
    studio_id: "{{ noslop_studio_id }}"
    path: report.json
  run_once: true
  register: verification
"""

RETURN = r"""
noslop_report:
  description: >-
    C(version) of the report's content, C(ok), C(studio_id), C(finished) (ISO 8601) and C(checks), each as
    M(noslop.studio.studio_check) returns it. The driver reads it.
  type: dict
  returned: always
headline:
  description: Failed checks by host, in one line; empty when none failed.
  type: str
  returned: always
message:
  description: Every problem, with what was seen, what was expected and what to do; empty when there is none.
  type: str
  returned: always
"""
