# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_report
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Say everything that stands in the way of deploying a studio
description:
  - Gathers on the controller what M(noslop.studio.host_check) found on each host, adds what only shows when all hosts
    are looked at together, prints what a person should know, and returns a report. Runs nothing on a host.
  - The task itself does not fail for what the report says, so that whoever calls it decides.
attributes:
  check_mode:
    description: Only looks, in check mode and without.
    support: full
  diff_mode:
    description: There is nothing to show, since nothing is changed.
    support: none
  action:
    description: Runs on the controller only.
    support: full
options:
  hosts:
    description: Every host that should have been asked.
    type: list
    elements: str
    required: true
  studio_id:
    description: Identity of the studio.
    type: str
    default: ""
  provider:
    description: Where the shares come from.
    type: str
    default: nfs
  servers:
    description: Hosts that are to serve the storage.
    type: list
    elements: str
    default: []
  clients:
    description: Hosts that are to mount it.
    type: list
    elements: str
    default: []
  services:
    description: Name of each service to the hosts that are to run it.
    type: dict
    default: {}
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
  asked:
    description: The controller's time before the hosts were asked, in seconds since 1970.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Say what stands in the way
  noslop.studio.preflight_report:
    hosts: "{{ ansible_play_hosts_all }}"
    studio_id: "{{ noslop_studio_id }}"
    servers: "{{ groups['storage_server'] }}"
    clients: "{{ groups['storage_clients'] }}"
    asked: "{{ began }}"
  run_once: true
"""

RETURN = r"""
report:
  description: C(ok), C(studio_id) and C(checks), each as M(noslop.studio.host_check) gives it.
  type: dict
  returned: always
message:
  description: Every problem with what was seen, what was expected and what to do; empty when there is none.
  type: str
  returned: always
"""
