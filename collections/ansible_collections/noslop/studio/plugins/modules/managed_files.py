#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write many templates in one remote call.

Eight ``ansible.builtin.template`` take ten times as long over SSH (``bench/modules.py`` measures both).
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: managed_files
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Write many templates in one call
description:
  - Renders templates on the controller and writes all of them with one remote call, where C(ansible.builtin.template)
    needs two for each. A role's configuration is one task.
  - A file is written under a temporary name and renamed, so that no reader sees half of it.
attributes:
  check_mode:
    description: Returns the files that would be written, and writes nothing.
    support: full
  diff_mode:
    description: Shows each file before and after; of a secret file, only that it differs.
    support: full
options:
  files:
    description: Files to write or remove.
    type: list
    elements: dict
    required: true
    suboptions:
      dest:
        description: Absolute path on the host. Missing parent directories are made with C(directory_mode).
        type: path
        required: true
      src:
        description: Template on the controller, searched for in the role's C(templates) directory.
        type: str
      content:
        description: Text to write where there is no C(src).
        type: str
      vars:
        description: Further variables for this template.
        type: dict
        default: {}
      owner:
        description: Owner of the file.
        type: str
        default: root
      group:
        description: Group of the file.
        type: str
        default: root
      mode:
        description: Mode of the file, in octal.
        type: str
        default: "0644"
      directory_mode:
        description: Mode of parent directories that are missing, in octal.
        type: str
        default: "0755"
      secret:
        description: Whether the text is hidden in differences and in logs.
        type: bool
        default: false
      validate:
        description: Command that must accept the new file before it replaces the old one; C(%s) is its path.
        type: str
      state:
        description: >-
          Desired state. C(absent) removes the file, but only where it has NoSlop's header, and its directory where that
          is one of NoSlop's own or of a unit's drop-ins, and empty.
        type: str
        choices: [present, absent]
        default: present
  secrets:
    description:
      - Texts of the files that are C(secret), by C(dest). The action plugin sets it from C(src) and C(content), so that
        Ansible keeps them out of its logs on both sides.
    type: dict
    default: {}
  record:
    description:
      - File in which the checksum of each file is recorded that has NoSlop's header and is not C(secret), so that a
        change by hand is noticed. Nothing is recorded where its directory is missing.
    type: path
    default: /var/lib/noslop/written-files.json
"""

EXAMPLES = r"""
- name: Write the unit and its secrets
  noslop.studio.managed_files:
    files:
      - src: server.service.j2
        dest: /etc/systemd/system/server.service
      - src: environment.j2
        dest: /etc/noslop/credentials/server.service/environment
        mode: "0600"
        directory_mode: "0700"
        secret: true

- name: Write the units
  noslop.studio.managed_files:
    files:
      - src: server.service.j2
        dest: /etc/systemd/system/server.service
      - dest: /etc/systemd/system/old.service
        state: absent
"""

RETURN = r"""
changed_files:
  description: Paths that were written or removed.
  type: list
  elements: str
  returned: always
kept:
  description: Paths that were not removed, because NoSlop did not make them.
  type: list
  elements: str
  returned: always
"""

import grp
import os
import pwd
import re
import shlex
import stat
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import written_files

HEADER = "Managed by NoSlop"
#: Those of NoSlop's settings, and of drop-ins of units. Others belong to packages and administrators.
_OWN_DIRECTORY = re.compile(rf"{re.escape(studio.SETTINGS_DIR)}(/.*)?|/etc/systemd/system/[^/]+\.d")


def main() -> None:
    """Write each file that differs."""
    file_spec: dict[str, Any] = {
        "dest": {"type": "path", "required": True},
        "src": {"type": "str"},
        "content": {"type": "str"},
        "vars": {"type": "dict", "default": {}},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "mode": {"type": "str", "default": "0644"},
        "directory_mode": {"type": "str", "default": "0755"},
        "secret": {"type": "bool", "default": False},
        "validate": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": file_spec},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "record": {"type": "path", "default": written_files.PATH},
        },
        supports_check_mode=True,
    )
    changed_files: list[str] = []
    kept: list[str] = []
    diffs: list[dict[str, str]] = []
    for file in module.params["files"]:
        path = file["dest"]
        if file["secret"]:
            file["content"] = module.params["secrets"].get(path)
        if file["state"] == "absent":
            _remove(module, file, changed_files, kept, diffs)
        elif _differs(module, file, diffs):
            changed_files.append(path)
            if not module.check_mode:
                _write(module, file)
    if not module.check_mode:
        _record(module.params["files"], module.params["record"])
    module.exit_json(changed=bool(changed_files), changed_files=changed_files, kept=kept, diff=diffs)


def _record(files: list[dict[str, Any]], path: str) -> None:
    """Record the files that have NoSlop's header and no secret, and forget the others and those that were removed."""
    digests: dict[str, str | None] = {}
    for file in files:
        recorded = file["state"] == "present" and not file["secret"] and HEADER in file["content"]
        digests[file["dest"]] = written_files.digest(file["content"].encode()) if recorded else None
    written_files.update(digests, path=path)


def _remove(
    module: AnsibleModule, file: dict[str, Any], changed_files: list[str], kept: list[str], diffs: list[dict[str, str]]
) -> None:
    path = file["dest"]
    if not os.path.lexists(path):
        return
    before = _read(path)
    if os.path.islink(path) or HEADER not in before:
        kept.append(path)
        return
    changed_files.append(path)
    diffs.append(_diff(file, before, ""))
    if not module.check_mode:
        os.unlink(path)
        _remove_empty_directories(os.path.dirname(path))


def _remove_empty_directories(directory: str) -> None:
    """Remove the directories that only NoSlop makes, upwards, where nothing is left in them."""
    while _OWN_DIRECTORY.fullmatch(directory):
        try:
            os.rmdir(directory)
        except OSError:
            return
        directory = os.path.dirname(directory)


def _differs(module: AnsibleModule, file: dict[str, Any], diffs: list[dict[str, str]]) -> bool:
    path = file["dest"]
    if file["content"] is None:
        module.fail_json(msg=f"{path}: neither src nor content says what to write")
    if os.path.isdir(path):
        module.fail_json(msg=f"{path} is a directory, and a file is to be written there. Move it away and run again.")
    before = _read(path)
    exists = os.path.exists(path)
    if not exists or before != file["content"]:
        diffs.append(_diff(file, before, file["content"]))
        return True
    status = os.stat(path)
    wanted = (file["owner"], file["group"], file["mode"].zfill(4))
    current = (_user_name(status.st_uid), _group_name(status.st_gid), f"{stat.S_IMODE(status.st_mode):04o}")
    if current != wanted:
        diffs.append(
            {
                "before_header": path,
                "before": " ".join(current) + "\n",
                "after_header": path,
                "after": " ".join(wanted) + "\n",
            }
        )
    return current != wanted


def _diff(file: dict[str, Any], before: str, after: str) -> dict[str, str]:
    if file["secret"]:
        before, after = ("(secret)\n" if before else ""), ("(secret, differs)\n" if after else "")
    return {"before_header": file["dest"], "before": before, "after_header": file["dest"], "after": after}


def _write(module: AnsibleModule, file: dict[str, Any]) -> None:
    path = file["dest"]
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        os.makedirs(os.path.dirname(directory), mode=0o755, exist_ok=True)
        os.mkdir(directory, 0o700)
        os.chmod(directory, int(file["directory_mode"], 8))
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".noslop-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(file["content"])
            stream.flush()
            os.fsync(stream.fileno())
        if file["validate"]:
            command = [word.replace("%s", temporary) for word in shlex.split(file["validate"])]
            code, out, err = module.run_command(command)
            if code != 0:
                module.fail_json(msg=f"{path}: {' '.join(command)} refused the new file: {(err or out).strip()}")
        try:
            os.chown(temporary, pwd.getpwnam(file["owner"]).pw_uid, grp.getgrnam(file["group"]).gr_gid)
        except KeyError as error:
            module.fail_json(msg=f"{path}: its owner or group does not exist on this host: {error}")
        os.chmod(temporary, int(file["mode"], 8))
        os.replace(temporary, path)
        module.set_default_selinux_context(path, False)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except (FileNotFoundError, IsADirectoryError):
        return ""


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


if __name__ == "__main__":
    main()
