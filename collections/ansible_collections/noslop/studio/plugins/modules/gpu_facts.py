#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``noslop.studio.gpu_facts``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Which graphics cards a host has, and whether they can be used
description:
  - Looks for cards of NVIDIA, AMD and Intel. Asks C(nvidia-smi), then C(rocm-smi) or C(/sys/class/kfd), then the PCI
    bus, where cards without a working driver are seen too.
  - A card that cannot be used is listed with the reason.
attributes:
  check_mode:
    description: Nothing is ever changed.
    support: full
  facts:
    description: Gives facts.
    support: full
options: {}
"""

EXAMPLES = r"""
- name: Look for GPUs
  noslop.studio.gpu_facts:

- name: Show what can compute
  ansible.builtin.debug:
    msg: "{{ ansible_facts['noslop_gpus'] | selectattr('usable') | map(attribute='name') }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to C(ansible_facts).
  returned: always
  type: dict
  contains:
    noslop_gpus:
      description: The cards, those of NVIDIA first.
      type: list
      elements: dict
      contains:
        vendor:
          description: C(nvidia), C(amd) or C(intel).
          type: str
        name:
          description: What it is called.
          type: str
        memory_mib:
          description: Its memory in MiB, where that is known.
          type: int
        driver:
          description: Version of the vendor's driver, or the name of the kernel driver that holds it.
          type: str
        usable:
          description: Whether Ollama and ComfyUI can compute on it.
          type: bool
        why:
          description: Why it cannot be used; empty when it can.
          type: str
      sample:
        - vendor: nvidia
          name: NVIDIA GeForce RTX 4090
          memory_mib: 24564
          driver: 580.95.05
          usable: true
          why: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu


def main() -> None:
    """Give the facts."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    cards = gpu.find_gpus(gpu.run_program)
    module.exit_json(changed=False, ansible_facts={"noslop_gpus": [card.as_fact() for card in cards]})


if __name__ == "__main__":
    main()
