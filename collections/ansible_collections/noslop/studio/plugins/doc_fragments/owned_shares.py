# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe once the options of modules that make and mark shares."""

from __future__ import annotations


class ModuleDocFragment:
    """The shares with the accounts that own them, and the studio that they belong to."""

    DOCUMENTATION = r"""
options:
  shares:
    description: Shares of the studio.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the share.
        type: str
        required: true
      path:
        description: Directory of the share.
        type: path
        required: true
      uid:
        description: Number of the account that owns it.
        type: int
        required: true
      gid:
        description: Number of the group that may write to it.
        type: int
        required: true
  studio_id:
    description: Identity of the studio.
    type: str
    required: true
"""
