# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.shares``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: shares
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the directories that all hosts of a studio share
description:
  - Returns the list of a studio's shares, derived from C(noslop_storage_root), C(noslop_models_writers),
    C(noslop_custom_nodes_writers) and the C(noslop_*_dir) variables of the host the task runs for.
  - Roles use it as a default, so that a path is derived in one place only.
options:
  _terms:
    description: Names of shares to return, all when none is named.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the path of the projects
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.shares', 'projects')[0].path }}"
"""

RETURN = r"""
_raw:
  description: >-
    One dictionary a share, with C(name), C(path), C(kind) (C(models) or C(work)), C(env), the name of the
    variable in C(/etc/noslop/node.env), C(owner), the account that owns it, and C(writers), which is C(members) or
    C(server), the hosts that may write to it.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.noslop.studio.plugins.module_utils import studio


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return the shares of the studio that the current host belongs to."""

    def run(
        self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[list[dict[str, str]]]:
        """Return the list as one term, so that ``lookup`` and ``query`` both keep it whole."""
        self.set_options(var_options=variables, direct=kwargs)
        host_variables = variables or {}
        values = {
            name: self._templar.template(host_variables[name])
            for name in studio.SHARE_VARIABLES
            if name in host_variables
        }
        try:
            shares = studio.shares_as_dicts(values)
        except ValueError as error:
            raise AnsibleError(str(error)) from error
        unknown = sorted(set(terms) - {share["name"] for share in shares})
        if unknown:
            raise AnsibleError(f"no share is called {', '.join(unknown)}; there are {', '.join(studio.PATH_VARIABLES)}")
        return [[share for share in shares if not terms or share["name"] in terms]]
