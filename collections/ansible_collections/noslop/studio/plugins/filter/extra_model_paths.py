# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the filter ``noslop.studio.extra_model_paths``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: extra_model_paths
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the directories that ComfyUI's C(extra_model_paths.yaml) names
description:
  - Reads the text of such a file as data, without tags and aliases.
options:
  _input:
    description: Text of the file.
    type: str
    required: true
  directory:
    description: Directory of the file, from which relative paths start.
    type: path
    required: true
positional: directory
"""

EXAMPLES = r"""
- name: Show the directories
  ansible.builtin.debug:
    msg: "{{ 'disk: {base_path: /srv, loras: loras}' | noslop.studio.extra_model_paths('/home/artist/ComfyUI') }}"
"""

RETURN = r"""
_value:
  description: C(paths), each with C(folder) and C(path), and C(problem), which says why the text is no such file.
  type: dict
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ansible_collections.noslop.studio.plugins.plugin_utils.extra_model_paths import parse_model_paths


def extra_model_paths(text: str, directory: str) -> dict[str, Any]:
    """Return the directories that the text of a file names, or the problem with it."""
    try:
        return {"paths": [asdict(path) for path in parse_model_paths(text, directory)], "problem": ""}
    except ValueError as error:
        return {"paths": [], "problem": str(error)}


class FilterModule:
    """Filters for paths of models."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"extra_model_paths": extra_model_paths}
