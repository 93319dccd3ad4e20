# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.gpu_support``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gpu_support
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return what the GPUs of a host need
description:
  - Chooses the build of PyTorch, and returns the groups and device files of the cards that can be used.
options:
  _input:
    description: The cards, as M(noslop.studio.gpu_facts) returns them.
    type: list
    elements: dict
    required: true
  index:
    description: The build of PyTorch, where the user chose one.
    type: str
    default: ""
positional: index
"""

EXAMPLES = r"""
- name: Show the build of PyTorch for a card
  ansible.builtin.debug:
    msg: "{{ ([card] | noslop.studio.gpu_support).index }}"
  vars:
    card: {vendor: nvidia, name: GTX 1080, usable: true, capability: "6.1", driver: 580.95.05}
"""

RETURN = r"""
_value:
  description:
    - C(vendor), the vendor whose cards ComfyUI uses (C(nvidia), C(amd), C(intel) or C(none)), C(index), the build of
      PyTorch for them, and their C(groups) and C(devices).
    - C(problems), a sentence for each reason why that build, or O(index), cannot compute on the cards.
    - C(all_vendors), C(all_groups) and C(all_devices) of all cards that can be used, as Ollama uses them.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import gpu_support as support


def gpu_support(cards: Sequence[Mapping[str, Any]], index: str = "") -> dict[str, Any]:
    """Return what the usable ones among ``cards`` need."""
    usable = support.parse_cards(cards)
    chosen = asdict(support.choose_support(usable))
    # Ansible's templates know lists, and no tuples.
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in chosen.items()}
    return {**lists, "problems": support.find_problems(usable, index)}


class FilterModule:
    """Filters for GPUs."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"gpu_support": gpu_support}
