# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.setting_problems``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: setting_problems
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the problems with the settings of Ollama or ComfyUI
description:
  - Checks the names and the kinds of values against what the program accepts. What NoSlop sets itself is refused with
    the variable to set in its place, a misspelled name with the nearest one.
options:
  _input:
    description: The settings, C(ollama_settings) or C(comfyui_flags).
    type: dict
    required: true
  program:
    description: The program.
    type: str
    choices: [ollama, comfyui]
    required: true
  version:
    description: The program's version. A commit is never too old.
    type: str
    default: ""
  others:
    description: Names that are set in another variable of the role.
    type: list
    elements: str
    default: []
  own:
    description: Names that NoSlop sets on this host.
    type: list
    elements: str
    default: []
positional: program, version, others, own
"""

EXAMPLES = r"""
- name: Refuse settings that cannot work
  ansible.builtin.assert:
    that: my_settings | noslop.studio.setting_problems('ollama', '0.32.15') | length == 0
  vars:
    my_settings: {OLLAMA_FLASH_ATTENTION: true, OLLAMA_NUM_PARALLEL: 2}
"""

RETURN = r"""
_value:
  description: One sentence for each problem; empty when there is none.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import service_settings


def setting_problems(
    values: Mapping[str, object],
    program: str,
    version: str = "",
    others: Sequence[str] = (),
    own: Sequence[str] = (),
) -> list[str]:
    """Return one sentence for each problem with ``values``."""
    if program not in service_settings.PROGRAMS:
        raise AnsibleFilterError(f"{program!r} has no settings; there are {', '.join(service_settings.PROGRAMS)}")
    return service_settings.find_problems(program, values, version, others, own)


class FilterModule:
    """Filters for settings."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"setting_problems": setting_problems}
