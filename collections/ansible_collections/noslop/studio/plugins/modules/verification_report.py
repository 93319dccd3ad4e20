# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verification_report
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Make one report of the checks of all hosts of a studio
description:
  - Collects on the controller the results of M(noslop.studio.studio_check) of each host, prints a table, writes the
    report as JSON, and returns it. Runs nothing on a host.
  - A host without a result is a failed check. The task itself does not fail when a check failed; the caller decides.
attributes:
  check_mode:
    description: A host where nothing is deployed yet is reported in one line.
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
    required: true
  path:
    description: File for the report as JSON on the controller, none when empty.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Report the checks
  noslop.studio.verification_report:
    hosts: "{{ ansible_play_hosts_all }}"
    studio_id: "{{ noslop_studio_id }}"
    path: report.json
  run_once: true
  register: verification
"""

RETURN = r"""
report:
  description: >-
    C(ok), C(studio_id), C(finished) (ISO 8601) and C(checks), each as M(noslop.studio.studio_check) returns it.
  type: dict
  returned: always
headline:
  description: Failed checks by host, in one line; empty when none failed.
  type: str
  returned: always
"""
