# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verification_report
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Make one report of what all hosts of a studio found
description:
  - Gathers on the controller what M(noslop.studio.studio_check) found on each host, prints a table, writes the
    report as JSON, and returns it. Runs nothing on a host.
  - A host that gave no result is a failed check. The task itself does not fail for what the report says, so that
    whoever calls it decides.
attributes:
  check_mode:
    description: A host where nothing is deployed yet is told in one line.
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
    required: true
  path:
    description: File on the controller for the report as JSON, none when empty.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Say what was found
  noslop.studio.verification_report:
    hosts: "{{ ansible_play_hosts_all }}"
    studio_id: "{{ noslop_studio_id }}"
    path: report.json
  run_once: true
  register: said
"""

RETURN = r"""
report:
  description: >-
    C(ok), C(studio_id), C(finished) (ISO 8601) and C(checks), each as M(noslop.studio.studio_check) gives it.
  type: dict
  returned: always
headline:
  description: Which checks failed where, in one line; empty when none did.
  type: str
  returned: always
"""
