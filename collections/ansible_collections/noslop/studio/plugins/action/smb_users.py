# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the passwords of SMB users on the controller, and send them in a parameter that Ansible logs nowhere."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.noslop.studio.plugins.plugin_utils import smb_passwords
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.smb import parse_smb_users


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Pass the passwords to the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        vault = arguments.pop("passwords", None) or {}
        directory = str(arguments.pop("directory", None) or ".")
        try:
            users = parse_smb_users(arguments.get("users"))
            arguments["passwords"] = smb_passwords.read_passwords(users, vault, directory)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        arguments["users"] = [user.name for user in users]
        result.update(self._execute_module("noslop.studio.smb_users", arguments, task_vars=task_vars))
        return result
