# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.addresses``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: addresses
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the addresses of the hosts of one or several groups
description:
  - Returns the address in the studio of each host of the named groups - C(noslop_address), else C(ansible_host) when
    that is an IP address.
  - Meant for playbooks, which pass the addresses to roles; roles themselves use no groups.
options:
  _terms:
    description: Names of groups. A group that the inventory does not have is empty.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the addresses of the storage clients
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.addresses', 'storage_clients') }}"
"""

RETURN = r"""
_raw:
  description: Addresses in the order of the groups and of their hosts, each once.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.noslop.studio.plugins.module_utils import studio


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return the addresses of groups of hosts."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[list[str]]:
        """Return the list as one term, so that ``lookup`` and ``query`` both keep it whole."""
        self.set_options(var_options=variables, direct=kwargs)
        host_variables = variables or {}
        hosts = list(dict.fromkeys(host for group in terms for host in host_variables["groups"].get(group, [])))
        try:
            addresses = [
                studio.address_of(host, self._variables_of(host, host_variables["hostvars"])) for host in hosts
            ]
        except ValueError as error:
            raise AnsibleError(str(error)) from error
        return [list(dict.fromkeys(addresses))]

    @staticmethod
    def _variables_of(host: str, hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {name: hostvars[host].get(name) for name in ("noslop_address", "ansible_host")}
