# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.unit_name``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unit_name
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the name of the systemd unit for a path
description:
  - Escapes a path as C(systemd-escape --path) does, as the name of a mount or automount unit requires.
options:
  _input:
    description: Absolute path.
    type: path
    required: true
  suffix:
    description: Kind of the unit.
    type: str
    choices: [mount, automount]
    default: mount
positional: suffix
"""

EXAMPLES = r"""
- name: Show a unit's name
  ansible.builtin.debug:
    msg: "{{ '/mnt/noslop/projects' | noslop.studio.unit_name('automount') }}"  # mnt-noslop-projects.automount
"""

RETURN = r"""
_value:
  description: The unit's name.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.share import path_rules


def unit_name(path: str, suffix: str = "mount") -> str:
    """Return the name of the unit for ``path``."""
    return path_rules.make_unit_name(path, suffix)


class FilterModule:
    """Filters for names of units."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"unit_name": unit_name}
