#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a program's release into a version directory.

``ansible.builtin.unarchive`` unpacks as the account that owns the result, into the directory in use, and does not
know which older directory a process still runs from.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_tree
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Install a program's release into a version directory
description:
  - Downloads archives, compares their SHA-256 before anything is unpacked, unpacks them into one directory, which gets
    its name only when it is whole, and points a link at it.
  - The archives are unpacked as C(account), in a directory of its own. The result is verified and given to root.
  - Keeps three version directories, the previous one, and any that a process runs from.
  - An existing directory needs no download and no network.
  - The checksum is that in O(sha256), or else that in the release's own list of checksums, which only shows that the
    download is what its host offers; a warning is shown then.
extends_documentation_fragment:
  - noslop.studio.attributes
  - noslop.studio.builds
  - noslop.studio.builds.account
attributes:
  check_mode:
    description: Returns what would be installed, without a download.
    support: full
options:
  base:
    description: Directory of the version directories.
    type: path
    required: true
  version:
    description: Name of the version directory. Required with C(present).
    type: str
  source:
    description: Address of the directory of the archives. Required with C(present).
    type: str
  archives:
    description:
      - Names of the archives that are unpacked, in this order. They end in C(.tar.zst), C(.tar.gz), C(.tgz) or
        C(.tar.xz).
    type: list
    elements: str
    default: []
  sha256:
    description: SHA-256 by name of archive. Those that are missing or empty are read from C(checksums).
    type: dict
    default: {}
  checksums:
    description: Name of the release's list of checksums beside the archives, in the format of C(sha256sum).
    type: str
    default: sha256sum.txt
  must_hold:
    description: Paths below the version directory that the archives must contain.
    type: list
    elements: str
    default: []
  command:
    description:
      - Path of a link for users, such as C(/usr/local/bin/ollama). A file that is not NoSlop's is kept.
      - It leads through the link C(current), which M(noslop.studio.service_switch) points at the version in use.
    type: path
  command_target:
    description: Target of the link, below C(current).
    type: str
  state:
    description: Desired state. C(absent) removes C(base) and the link.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Install Ollama
  noslop.studio.release_tree:
    base: /opt/noslop/ollama
    version: 0.32.7
    source: https://github.com/ollama/ollama/releases/download/v0.32.7
    archives: [ollama-linux-amd64.tar.zst]
    sha256:
      ollama-linux-amd64.tar.zst: ed1e39fe8fea90bd7f4c723bd949a2cea3153e111220ec0a183ea5b8dc8b2cae
    must_hold: [bin/ollama]
    command: /usr/local/bin/ollama
    command_target: bin/ollama
"""

RETURN = r"""
directory:
  description: The version directory.
  type: str
  returned: success
installed:
  description: Whether the version directory was made or made again.
  type: bool
  returned: success
archives:
  description: Archives of the version directory, and what each checksum was compared with.
  type: list
  elements: dict
  returned: success
removed:
  description: Names of older version directories that were removed.
  type: list
  elements: str
  returned: success
kept:
  description: Path of C(command), when another program has it and was kept.
  type: list
  elements: str
  returned: success
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import check
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.install import builds, downloads, release_dir


class ReleaseError(Exception):
    """A release cannot be installed. The message is for the user who has to repair it."""


def main() -> None:
    """Install or remove a release."""
    module = AnsibleModule(
        argument_spec={
            "base": {"type": "path", "required": True},
            "version": {"type": "str"},
            "source": {"type": "str"},
            "archives": {"type": "list", "elements": "str", "default": []},
            "sha256": {"type": "dict", "default": {}},
            "checksums": {"type": "str", "default": "sha256sum.txt"},
            "must_hold": {"type": "list", "elements": "str", "default": []},
            "command": {"type": "path"},
            "command_target": {"type": "str"},
            "account": {"type": "str", "default": studio.BUILD_ACCOUNT},
            "programs": {"type": "path", "default": studio.PROGRAMS_DIR},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("version", "source", "archives"))],
        required_together=[("command", "command_target")],
        supports_check_mode=True,
    )
    try:
        result = _remove(module) if module.params["state"] == "absent" else _install(module)
    except (ReleaseError, builds.BuildError, downloads.DownloadError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or module.params['base']}: {error.strerror or error}. Nothing was replaced."
        )
    module.exit_json(**result)


def _install(module: AnsibleModule) -> dict[str, Any]:
    base, version = module.params["base"], module.params["version"]
    path = os.path.join(base, version)
    stamp = release_dir.read_stamp(path)
    installed = stamp is None or not _is_made_from(stamp, module.params)
    made_from = [] if stamp is None else stamp["archives"]
    removed: list[str] = []
    if not module.check_mode:
        if installed:
            made_from = _build(module, path)
        removed = release_dir.prune(base, release_dir.STAMP) if installed else []
    linked, kept = _link_command(module, os.path.join(base, release_dir.CURRENT))
    return {
        "changed": installed or linked,
        "directory": path,
        "installed": installed,
        "archives": made_from,
        "kept": kept,
        "removed": removed,
    }


def _is_made_from(stamp: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Return whether an installed tree has the wanted archives, by content and not by address."""
    installed = {archive["name"]: archive["sha256"] for archive in stamp.get("archives", [])}
    pinned = {name: str(wanted["sha256"].get(name) or "").lower() for name in wanted["archives"]}
    return installed.keys() == pinned.keys() and all(
        not sha256 or installed[name] == sha256 for name, sha256 in pinned.items()
    )


def _build(module: AnsibleModule, path: str) -> list[dict[str, str]]:
    account = builds.find_account(module.params["account"])
    if account is None:
        raise ReleaseError(f"There is no account {module.params['account']} here. Run the playbook storage first.")
    with builds.building(module.params["programs"], account) as build:
        part = os.path.join(build.directory, "release")
        build.run(["mkdir", part])
        made_from = [_add(module, build, part, name) for name in module.params["archives"]]
        tree = build.transfer_to_root("release")
        missing = [name for name in module.params["must_hold"] if not os.path.exists(os.path.join(tree, name))]
        if missing:
            raise ReleaseError(
                f"The archives of {module.params['version']} do not hold {check.enumerate_words(missing)}: the "
                "release has another layout than this version of NoSlop knows."
            )
        release_dir.write_stamp(tree, {"archives": made_from})
        builds.install_tree(tree, path)
    return made_from


def _add(module: AnsibleModule, build: builds.Build, part: str, name: str) -> dict[str, str]:
    """Download an archive, compare its checksum, and unpack it as the build account."""
    url, file = f"{module.params['source'].rstrip('/')}/{name}", os.path.join(build.root_directory, name)
    pinned = str(module.params["sha256"].get(name) or "").lower()
    checksums_url = f"{module.params['source'].rstrip('/')}/{module.params['checksums']}"
    expected = pinned or _listed_sha256(checksums_url, name)
    compared_with = "the pinned checksum" if pinned else checksums_url
    actual = downloads.download(url, file)
    if actual != expected:
        raise ReleaseError(
            f"{url} is not what it should be and was not unpacked: its SHA-256 is {actual}, expected {expected} "
            f"({compared_with}). If this is the file you want, set its checksum; else find out who changed it."
        )
    if not pinned:
        module.warn(
            f"{url} was compared with the release's own list only ({compared_with}), which shows that it "
            f"arrived whole, but not that it is the original. Pin it: {actual}"
        )
    downloads.unpack(build, file, part, url)
    os.unlink(file)
    return {"name": name, "url": url, "sha256": actual, "compared_with": compared_with}


def _listed_sha256(url: str, name: str) -> str:
    """Return the checksum of an archive in the release's own list."""
    try:
        with downloads.open_address(url) as answer:
            text: str = answer.read().decode(errors="replace")
    except (OSError, ValueError) as error:
        raise ReleaseError(downloads.explain_unreachable(url, error)) from error
    for line in text.splitlines():
        sha256, __, listed = line.partition(" ")
        if os.path.basename(listed.strip().lstrip("*")) == name and len(sha256) == 64:
            return sha256.lower()
    raise ReleaseError(f"{url} has no line for {name}. Set its checksum yourself, or choose another version.")


def _link_command(module: AnsibleModule, current: str) -> tuple[bool, list[str]]:
    """Make the link for users. Returns whether it was made, and the path when another program has it."""
    command = module.params["command"]
    if command is None:
        return False, []
    target = os.path.join(current, module.params["command_target"])
    if release_dir.points_at(command, target):
        return False, []
    if os.path.lexists(command) and not _is_ours(command, module.params["base"]):
        return False, [command]
    if not module.check_mode:
        os.makedirs(os.path.dirname(command), mode=0o755, exist_ok=True)
        release_dir.replace_link(command, target)
    return True, []


def _is_ours(command: str, base: str) -> bool:
    return os.path.islink(command) and os.readlink(command).startswith(base.rstrip("/") + "/")


def _remove(module: AnsibleModule) -> dict[str, Any]:
    base, command = module.params["base"], module.params["command"]
    ours = [path for path in (command,) if path and _is_ours(path, base)]
    exists = os.path.lexists(base)
    if not module.check_mode:
        for path in ours:
            os.unlink(path)
        if exists:
            safe_paths.remove_tree(base)
    return {
        "changed": bool(ours) or exists,
        "directory": base,
        "installed": False,
        "archives": [],
        "kept": [],
        "removed": [],
    }


if __name__ == "__main__":
    main()
