# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.smb_problems``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: smb_problems
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the problems with the SMB users of a studio and their passwords
description:
  - Checks the entries of C(noslop_smb_users), and that each user has one password that can be used. Reads the files
    on the controller. No sentence contains a password.
options:
  _input:
    description: The users, each with C(name), and with C(password_file) where the password is in a file.
    type: list
    elements: dict
    required: true
  passwords:
    description: Passwords in a vault, by the name of the user.
    type: dict
    required: true
  directory:
    description: Directory in which relative paths begin.
    type: path
    required: true
positional: passwords, directory
"""

EXAMPLES = r"""
- name: Reject users without a password
  ansible.builtin.assert:
    that: noslop_smb_users | noslop.studio.smb_problems({}, inventory_dir) | length == 0
"""

RETURN = r"""
_value:
  description: One sentence for each problem; empty when there is none.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.plugin_utils import smb_passwords


def smb_problems(users: object, passwords: Mapping[str, object] | None, directory: str) -> list[str]:
    """Return one sentence for each problem with users and passwords."""
    return smb_passwords.list_problems(users, passwords or {}, directory)


class FilterModule:
    """Filters for SMB."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"smb_problems": smb_problems}
