# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the module ``storage_move`` on a host, and show how far a copy or a list of hashes is until it ends."""

from __future__ import annotations

from typing import Any

from ansible_collections.noslop.studio.plugins.action import model_files


class ActionModule(model_files.ActionModule):
    """Run the module in the background of the host while it copies or reads, and follow it."""

    module = "noslop.studio.storage_move"

    def takes_long(self, arguments: dict[str, Any]) -> bool:
        """Return whether the module copies or hashes."""
        return arguments.get("state") in ("copied", "listed") and not self._task.check_mode
