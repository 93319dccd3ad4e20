# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.mount_options``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mount_options
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the options with which a client mounts a share
description:
  - Composes the options that a host requests of NFS for a share. Verification compares mounts with the same ones.
options:
  _input:
    description: A share, as the lookup P(noslop.studio.studio#lookup) returns it.
    type: dict
    required: true
  options:
    description: Options of every share.
    type: str
    required: true
  models_options:
    description: Further options of shares with models.
    type: str
    required: true
  transport:
    description: V(plain), or with TLS V(tls), or with TLS and a certificate of the client V(mtls).
    type: str
    default: plain
positional: options, models_options, transport
"""

EXAMPLES = r"""
- name: Show the options of the projects
  ansible.builtin.debug:
    msg: "{{ projects | noslop.studio.mount_options('vers=4.2,hard', 'acdirmax=3') }}"
  vars:
    projects: "{{ lookup('noslop.studio.studio', 'share', 'projects') }}"
"""

RETURN = r"""
_value:
  description: Options of mount(8), joined by commas.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.nfs import mount_options


class FilterModule:
    """Filters for mounts."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"mount_options": mount_options.compose}
