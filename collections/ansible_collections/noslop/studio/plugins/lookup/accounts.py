# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.accounts``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: accounts
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the accounts of a studio, with their numbers
description:
  - Returns the list of a studio's accounts, with the numbers that C(noslop_uid), C(noslop_gid) and the C(noslop_*_id)
    variables of the host give them.
  - Roles use it as a default, so that a number is written in one place only.
options:
  _terms:
    description: Names of accounts to return, all when none is named.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the number of ComfyUI's account
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.accounts', 'noslop-comfyui')[0].uid }}"
"""

RETURN = r"""
_raw:
  description: >-
    One dictionary an account, with C(name), C(uid), C(gid), C(groups), the names of groups it is a member of
    besides its own, and C(people), whether the studio's people are members of its group.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.noslop.studio.plugins.module_utils import studio


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return the accounts of the studio that the current host belongs to."""

    def run(
        self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[list[dict[str, Any]]]:
        """Return the list as one term, so that ``lookup`` and ``query`` both keep it whole."""
        self.set_options(var_options=variables, direct=kwargs)
        host_variables = variables or {}
        values = {
            name: self._templar.template(host_variables[name])
            for name in studio.ACCOUNT_VARIABLES
            if name in host_variables
        }
        unknown = sorted(set(terms) - set(studio.ACCOUNTS))
        if unknown:
            raise AnsibleError(f"no account is called {', '.join(unknown)}; there are {', '.join(studio.ACCOUNTS)}")
        try:
            accounts = studio.accounts_as_dicts(values)
        except ValueError as error:
            raise AnsibleError(str(error)) from error
        return [[account for account in accounts if not terms or account["name"] in terms]]
