# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.path_problems``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: path_problems
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the problems with the paths of a studio's shares
description:
  - Checks that every path is plain, belongs to the studio only, and lies in no other share.
options:
  _input:
    description: The shares, each with C(name) and C(path), as for M(noslop.studio.share_directories).
    type: list
    elements: dict
    required: true
  root:
    description: Directory of the shares that have no path of their own.
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
  description: One sentence for each problem; empty when there is none.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.share import path_rules


def path_problems(shares: Sequence[Mapping[str, str]], root: str) -> list[str]:
    """Return one sentence for each problem with the paths of ``shares``."""
    return path_rules.find_path_problems(root, shares)


class FilterModule:
    """Filters for paths."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"path_problems": path_problems}
