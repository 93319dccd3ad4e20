# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.ports``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ports
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the ports of a studio's services
description:
  - Returns the ports of Ollama, ComfyUI and the backend, from C(ollama_port), C(comfyui_port) and
    C(studio_backend_port) of the host that the task runs for, or their defaults.
  - Roles that filter or check those ports use it as a default, so that a port is set in one place only.
options:
  _terms:
    description: Not used.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the port of the backend
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.ports').backend }}"
"""

RETURN = r"""
_raw:
  description: C(ollama), C(comfyui) and C(backend), each to a port.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.noslop.studio.plugins.module_utils import studio


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return the ports of the services on the current host."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, int]]:
        """Return all of them as one term."""
        self.set_options(var_options=variables, direct=kwargs)
        host_variables = variables or {}
        names = [variable for variable, _ in studio.PORTS.values()]
        try:
            return [
                studio.ports(
                    {name: self._templar.template(host_variables[name]) for name in names if name in host_variables}
                )
            ]
        except ValueError as error:
            raise AnsibleError(str(error)) from error
