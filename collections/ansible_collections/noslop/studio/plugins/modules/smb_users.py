#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the passwords of SMB users in a database of Samba's, and remove all other users from it.

There is no module for it in ansible-core. A task that pipes into ``smbpasswd`` cannot tell whether a password is the
same already, so it would change something in each run, and predict nothing in check mode.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: smb_users
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Set the users of an SMB server and their passwords
description:
  - Compares the passwords with the hashes in the database that a configuration of Samba's names, sets those that
    differ, and removes every other user. A second run changes nothing.
  - A password goes into the standard input of C(smbpasswd), never into an argument, a file, a log or a difference.
  - Each user needs an account on the host already.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Returns the users that would be added, renewed and removed.
    support: full
options:
  config:
    description: Configuration of Samba's, which names the database.
    type: path
    default: /etc/noslop/smb.conf
  users:
    description:
      - The users, each with C(name), and with C(password_file) where the password is in a file on the controller. The
        action plugin reads the files, and passes the names.
    type: list
    elements: raw
    required: true
  passwords:
    description: The passwords, by the name of the user. The action plugin adds those in files.
    type: dict
    default: {}
  directory:
    description: Directory on the controller in which relative paths of files begin.
    type: path
"""

EXAMPLES = r"""
- name: Set the passwords of the people who work with Windows and macOS
  noslop.studio.smb_users:
    users:
      - name: anna
        password_file: ~/.noslop-smb-anna
      - name: bert
    passwords: "{{ smb_server_passwords }}"
    directory: "{{ inventory_dir }}"
"""

RETURN = r"""
added:
  description: Users that the database did not have.
  type: list
  elements: str
  returned: success
renewed:
  description: Users that had another password, or could not log in.
  type: list
  elements: str
  returned: success
removed:
  description: Users that were removed.
  type: list
  elements: str
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.smb import passdb


class DatabaseError(Exception):
    """The database cannot be read or changed. The message contains the command and its output, and no password."""


class Database:
    """The database of users that a configuration names."""

    def __init__(self, module: AnsibleModule, config: str) -> None:
        self._module = module
        self._config = config

    @property
    def exists(self) -> bool:
        """Return whether Samba and its configuration are there; on a fresh host in check mode they are not."""
        return bool(self._module.get_bin_path("pdbedit")) and os.path.exists(self._config)

    def read(self) -> dict[str, passdb.Entry]:
        """Return the users."""
        out = self._run(["pdbedit", "--configfile", self._config, "--list", "--smbpasswd-style"])
        return passdb.parse_entries(out)

    def set_password(self, name: str, password: str) -> None:
        """Add a user or set the password of one, and let the user log in."""
        command = ["smbpasswd", "-c", self._config, "-s", "-a", name]
        self._run(command, data=f"{password}\n{password}\n")
        self._run(["smbpasswd", "-c", self._config, "-e", name])

    def remove(self, name: str) -> None:
        """Remove a user."""
        self._run(["pdbedit", "--configfile", self._config, "--delete", "--user", name])

    def _run(self, command: list[str], data: str | None = None) -> str:
        # UTF-8, whatever the language of the host: a password is not only ASCII.
        code, out, err = self._module.run_command(command, data=data, environ_update={"LC_ALL": "C.UTF-8"})
        if code != 0:
            raise DatabaseError(f"`{' '.join(command)}` failed: {(err or out).strip()}")
        return str(out)


def main() -> None:
    """Bring the database to the requested users."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "path", "default": studio.SMB_CONF_FILE},
            "users": {"type": "list", "elements": "raw", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "directory": {"type": "path"},
        },
        supports_check_mode=True,
    )
    passwords: dict[str, str] = module.params["passwords"]
    database = Database(module, module.params["config"])
    try:
        changes = passdb.compare(database.read() if database.exists else {}, passwords)
        if not module.check_mode:
            # First those that may no longer log in.
            for name in changes.removed:
                database.remove(name)
            for name in (*changes.renewed, *changes.added):
                database.set_password(name, passwords[name])
            left = passdb.compare(database.read(), passwords)
            if left != passdb.Changes((), (), ()):
                names = ", ".join((*left.removed, *left.renewed, *left.added))
                raise DatabaseError(f"the passwords were set, and the database still differs for {names}")
    except DatabaseError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(changes.added or changes.renewed or changes.removed),
        added=list(changes.added),
        renewed=list(changes.renewed),
        removed=list(changes.removed),
    )


if __name__ == "__main__":
    main()
