#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the GPUs of a host and whether they can be used.

Ansible's own facts do not contain them.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Find the graphics cards of a host, and whether they can be used
description:
  - Finds cards of NVIDIA, AMD and Intel by C(nvidia-smi), then C(rocm-smi) or C(/sys/class/kfd), then the PCI bus,
    which also shows cards without a working driver.
  - A card that cannot be used is listed with the reason.
extends_documentation_fragment:
  - noslop.studio.attributes.reads
attributes:
  facts:
    description: Returns facts.
    support: full
options: {}
"""

EXAMPLES = r"""
- name: Find the GPUs
  noslop.studio.gpu_facts:

- name: Show the usable GPUs
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
          description: Name of the product.
          type: str
        memory_mib:
          description: Memory in MiB, where that is known.
          type: int
        driver:
          description: Version of the vendor's driver, or the name of the kernel driver that is bound to the card.
          type: str
        capability:
          description: Compute capability of a card of NVIDIA, where its driver tells it.
          type: str
        usable:
          description: Whether Ollama and ComfyUI can compute on it.
          type: bool
        why:
          description: Reason why it cannot be used; empty when it can.
          type: str
      sample:
        - vendor: nvidia
          name: NVIDIA GeForce RTX 4090
          memory_mib: 24564
          driver: 580.95.05
          capability: "8.9"
          usable: true
          why: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu


def main() -> None:
    """Return the facts."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    cards = gpu.find_gpus(gpu.run_program)
    module.exit_json(changed=False, ansible_facts={"noslop_gpus": [card.as_fact() for card in cards]})


if __name__ == "__main__":
    main()
