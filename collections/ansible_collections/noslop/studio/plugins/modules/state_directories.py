#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the directories in which a service keeps its state.

``ansible.builtin.file`` as root follows links that the service's account can plant in its own directory.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: state_directories
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Make the directories in which a service keeps its state
description:
  - Makes directories with their owner, group and mode. Links in them are never followed.
  - A directory that belongs to the account under which the service ran before is given to its new account, with
    everything in it that belonged to the old one. The service is stopped first. The directory itself is changed last,
    so that the next run completes one that was interrupted.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Returns what would be done.
    support: full
options:
  directories:
    description: Directories to make, parents first.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      owner:
        description: Account and group that own it.
        type: str
        required: true
      mode:
        description: Mode, in octal.
        type: str
        required: true
  previous_owner:
    description: Account under which the service ran before.
    type: str
    required: true
  unit:
    description: Unit of the service.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Make the state directory
  noslop.studio.state_directories:
    directories:
      - {path: /var/lib/noslop/comfyui, owner: noslop-comfyui, mode: "2770"}
    previous_owner: noslop
    unit: noslop-comfyui.service
"""

RETURN = r"""
made:
  description: Directories that were made, or whose owner or mode was corrected.
  type: list
  elements: str
  returned: success
given:
  description: Directories that were given to their new account with their content.
  type: list
  elements: str
  returned: success
"""

import grp
import os
import pwd
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Systemd, SystemdError


class AccountMissing(Exception):  # noqa: N818  # named after what is wrong
    """The account that is to own a directory does not exist."""


def main() -> None:
    """Make each directory, and change the owner of those of the previous account."""
    directory_spec: dict[str, Any] = {
        "path": {"type": "path", "required": True},
        "owner": {"type": "str", "required": True},
        "mode": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "dict", "required": True, "options": directory_spec},
            "previous_owner": {"type": "str", "required": True},
            "unit": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    made: list[str] = []
    changed_owner: list[str] = []
    try:
        for directory in module.params["directories"]:
            if _change_owner(module, directory):
                changed_owner.append(directory["path"])
            elif _make(module, directory):
                made.append(directory["path"])
    except (AccountMissing, SystemdError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'a directory'}: {error.strerror or error}")
    module.exit_json(changed=bool(made or changed_owner), made=made, given=changed_owner)


def _change_owner(module: AnsibleModule, directory: dict[str, Any]) -> bool:
    """Change the owner of a directory that belongs to the previous account, and return whether it did."""
    previous = _numbers(module.params["previous_owner"])
    owner = _numbers(directory["owner"])
    status = _stat(directory["path"])
    if previous is None or status is None or status.st_uid != previous[0] or owner == previous:
        return False
    if module.check_mode:
        return True
    if owner is None:
        raise _no_account(directory)
    systemd = Systemd(module)
    unit = module.params["unit"]
    if systemd.show([unit])[unit].is_active:
        systemd.do("stop", unit)
    safe_paths.change_owner_tree(directory["path"], {previous[0]}, owner[0], owner[1], {previous[1]})
    safe_paths.make_directory(directory["path"], owner[0], owner[1], int(directory["mode"], 8))
    return True


def _make(module: AnsibleModule, directory: dict[str, Any]) -> bool:
    """Make the directory, or correct it, and return whether anything changed."""
    owner = _numbers(directory["owner"])
    mode = int(directory["mode"], 8)
    if module.check_mode:
        status = _stat(directory["path"])
        return status is None or (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) != (
            *(owner or (-1, -1)),
            mode,
        )
    if owner is None:
        raise _no_account(directory)
    return safe_paths.make_directory(directory["path"], owner[0], owner[1], mode)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _numbers(name: str) -> tuple[int, int] | None:
    """Return the numbers of an account and of the group of the same name, or None where one of them is missing."""
    try:
        return pwd.getpwnam(name).pw_uid, grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _no_account(directory: dict[str, Any]) -> AccountMissing:
    return AccountMissing(
        f"{directory['path']}: there is no account or no group {directory['owner']} on this host. The role "
        "noslop.studio.service_account makes it: run the whole deployment."
    )


if __name__ == "__main__":
    main()
