# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe this run to the module of the same name, as for the studio's lease."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.noslop.studio.plugins.action.studio_lease import describe_own


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Run the module."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returned."""
        super().run(tmp, task_vars)
        arguments = {**self._task.args, "run": asdict(describe_own())}
        result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        return result
