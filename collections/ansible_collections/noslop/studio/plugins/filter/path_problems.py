# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``noslop.studio.path_problems``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: path_problems
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: What is wrong with the paths of a studio's shares
description:
  - Checks that every path is plain, belongs to the studio alone, and lies in no other share.
options:
  _input:
    description: The shares, each with C(name) and C(path), as M(noslop.studio.share_directories) takes them.
    type: list
    elements: dict
    required: true
  root:
    description: Directory that holds the shares which have no place of their own.
    type: path
    required: true
positional: root
"""

EXAMPLES = r"""
- name: Refuse paths that cannot be shared
  ansible.builtin.assert:
    that: my_shares | noslop.studio.path_problems('/mnt/noslop') | length == 0
"""

RETURN = r"""
_value:
  description: One sentence for each problem; empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.share import path_rules


def path_problems(shares: Sequence[Mapping[str, str]], root: str) -> list[str]:
    """One sentence for each problem with the paths of ``shares``."""
    return path_rules.path_problems(root, shares)


class FilterModule:
    """Rules for paths."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Give Ansible the filter."""
        return {"path_problems": path_problems}
