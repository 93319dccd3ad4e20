# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_report
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Report the problems that prevent the deployment of a studio
description:
  - Collects on the controller the results of M(noslop.studio.host_check) of each host, adds checks of the studio as a
    whole, prints the notes, and returns a report. Runs nothing on a host.
  - The task itself does not fail when a check failed; the caller decides.
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Not available, since nothing is changed.
    support: none
  action:
    description: Runs on the controller only.
    support: full
options:
  hosts:
    description: All hosts that should have results.
    type: list
    elements: str
    required: true
  studio_id:
    description: Identity of the studio.
    type: str
    default: ""
  provider:
    description: Source of the shares.
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
    description: Time of the controller before the checks of the hosts, in seconds since 1970.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Report the problems
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
  description: C(ok), C(studio_id) and C(checks), each as M(noslop.studio.host_check) returns it.
  type: dict
  returned: always
message:
  description: Every problem, with what was seen, what was expected and what to do; empty when there is none.
  type: str
  returned: always
"""
