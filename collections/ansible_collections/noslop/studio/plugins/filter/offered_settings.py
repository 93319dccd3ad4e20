# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.offered_settings``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: offered_settings
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the settings of an existing program as the role's variable has them
description:
  - Sorts the environment of an existing Ollama into settings that the studio's can have too, with values of their kind,
    and settings that NoSlop sets itself. Other names are left out.
options:
  _input:
    description: Environment variables, by name.
    type: dict
    required: true
  program:
    description: The program.
    type: str
    choices: [ollama]
    required: true
positional: program
"""

EXAMPLES = r"""
- name: Show what to write into ollama_settings
  ansible.builtin.debug:
    msg: "{{ {'OLLAMA_FLASH_ATTENTION': '1', 'OLLAMA_HOST': '0.0.0.0'} | noslop.studio.offered_settings('ollama') }}"
"""

RETURN = r"""
_value:
  description: C(settings), and C(own), which has the reason or the variable to set for each name that NoSlop sets.
  type: dict
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.noslop.studio.plugins.plugin_utils.validation import service_settings


def offered_settings(environment: Mapping[str, str], program: str) -> dict[str, Any]:
    """Return the settings of an existing program, in two parts."""
    return asdict(service_settings.offer_settings(program, environment))


class FilterModule:
    """Filters for settings."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"offered_settings": offered_settings}
