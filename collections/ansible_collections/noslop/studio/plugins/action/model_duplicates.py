# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the module ``model_duplicates`` on a host, and show how far it is until it ends."""

from __future__ import annotations

from typing import Any

from ansible_collections.noslop.studio.plugins.action import model_files


class ActionModule(model_files.ActionModule):
    """Run the module in the background of the host, and follow it."""

    module = "noslop.studio.model_duplicates"

    def takes_long(self, arguments: dict[str, Any]) -> bool:
        """Return whether the module reads files, which it does in check mode too."""
        return str(arguments.get("state", "present")) == "present"
