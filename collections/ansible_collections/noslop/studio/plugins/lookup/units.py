# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.units``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: units
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the units of a studio's services
description:
  - Returns the names of the systemd units of a studio's services, with their suffix.
options:
  _terms:
    description: Services whose units to return, all when none is named.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the unit of ComfyUI
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.units', 'comfyui')[0] }}"
"""

RETURN = r"""
_raw:
  description: Names of units.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.noslop.studio.plugins.module_utils import studio


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return the units of a studio's services."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[list[str]]:
        """Return the list as one term, so that ``lookup`` and ``query`` both keep it whole."""
        self.set_options(var_options=variables, direct=kwargs)
        unknown = sorted(set(terms) - set(studio.UNITS))
        if unknown:
            raise AnsibleError(f"no service is called {', '.join(unknown)}; there are {', '.join(studio.UNITS)}")
        return [[unit for service, unit in studio.UNITS.items() if not terms or service in terms]]
