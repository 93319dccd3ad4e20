#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``noslop.studio.comfyui_tree``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: comfyui_tree
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Install ComfyUI's source beside shared models
description:
  - Exports a pinned revision into a version directory. A checkout will not do, because ComfyUI tracks files below
    C(models) and C(custom_nodes), and git takes links in their places for changes.
  - Makes C(models) and C(custom_nodes) links to the shares. What the revision brings there is put on the shares where
    they lack it, as the account that owns them, and replaces nothing.
  - Makes the model directories on the share, and the directories that belong to this host alone.
  - A version directory that is there already costs no network.
attributes:
  check_mode:
    description: Says what would be made, without downloading. A share that is not there yet is no failure.
    support: full
  diff_mode:
    description: Not given.
    support: none
options:
  base:
    description: Directory that holds the version directories and a copy of the repository.
    type: path
    required: true
  repo:
    description: Address of the repository, or the path of one on this host. Needed to install.
    type: str
  revision:
    description: A commit's full SHA-1, or a tag. A branch is refused. Needed to install.
    type: str
  commit:
    description: The commit that a tag must be. Empty accepts what it is.
    type: str
    default: ""
  links:
    description: Directories of the version directory that are links to shares.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name in the version directory.
        type: str
        required: true
      path:
        description: Where the share is.
        type: path
        required: true
      share:
        description: The share's name in its marker.
        type: str
        required: true
      directories:
        description: Directories to make on it.
        type: list
        elements: str
        default: []
  state_directories:
    description: Directories of this host, which belong to the account.
    type: list
    elements: path
    default: []
  account:
    description: Who owns them and writes to the shares.
    type: str
    default: noslop
  studio_id:
    description: Id of the studio in the shares' markers. Needed to install.
    type: str
  state:
    description: C(absent) removes C(base), and nothing else.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Install ComfyUI's source
  noslop.studio.comfyui_tree:
    base: /opt/noslop/comfyui
    repo: https://github.com/Comfy-Org/ComfyUI.git
    revision: v0.3.64
    studio_id: "{{ noslop_studio_id }}"
    links:
      - name: models
        path: /mnt/noslop/comfyui/models
        share: comfyui_models
        directories: [checkpoints, loras]
"""

RETURN = r"""
directory:
  description: The version directory.
  type: str
  returned: success
commit:
  description: The commit that it is.
  type: str
  returned: success
installed:
  description: Whether the version directory was made or made again.
  type: bool
  returned: success
made:
  description: Directories and files that were made on the shares and on the host.
  type: list
  elements: str
  returned: success
requirements:
  description: Names of the directories below the share C(custom_nodes) that have a C(requirements.txt).
  type: list
  elements: str
  returned: success
"""

import contextlib
import os
import shutil
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import (
    carry,
    children,
    listing,
    repositories,
    share_access,
    trees,
)

CURRENT = "current"
MIRROR = "mirror.git"
#: Where a version directory keeps what the revision has in the places of the links.
SEEDS = ".noslop-seeds"
CUSTOM_NODES = "custom_nodes"


class TreeError(Exception):
    """ComfyUI cannot be installed, in words for the person who has to mend it."""


def main() -> None:
    """Install, or remove."""
    link_spec: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        "path": {"type": "path", "required": True},
        "share": {"type": "str", "required": True},
        "directories": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "base": {"type": "path", "required": True},
            "repo": {"type": "str"},
            "revision": {"type": "str"},
            "commit": {"type": "str", "default": ""},
            "links": {"type": "list", "elements": "dict", "default": [], "options": link_spec},
            "state_directories": {"type": "list", "elements": "path", "default": []},
            "account": {"type": "str", "default": "noslop"},
            "studio_id": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("repo", "revision", "studio_id"))],
        supports_check_mode=True,
    )
    try:
        result = _remove(module) if module.params["state"] == "absent" else Tree(module).install()
    except (TreeError, repositories.RepositoryError, share_access.ShareError, carry.CarryError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or module.params['base']}: {error.strerror or error}. Nothing was replaced."
        )
    module.exit_json(**result)


def _remove(module: AnsibleModule) -> dict[str, Any]:
    base = module.params["base"]
    there = os.path.lexists(base)
    if there and not module.check_mode:
        shutil.rmtree(base)  # follows no links: the shares stay
    return {"changed": there, "directory": base, "commit": "", "installed": False, "made": [], "requirements": []}


class Tree:
    """One version directory and what belongs to it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.base: str = module.params["base"]
        self.revision: str = module.params["revision"]
        self.links: list[dict[str, Any]] = module.params["links"]
        self.path = os.path.join(self.base, self.revision)
        self.repository = repositories.Repository(os.path.join(self.base, MIRROR), self._run)
        self.account = share_access.account_named(module.params["account"])
        self.made: list[str] = []

    def _run(self, command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
        code, out, err = self.module.run_command(command, umask=0o022, environ_update=environment)
        return int(code), str(out), str(err)

    def install(self) -> dict[str, Any]:
        """Make what is missing."""
        if self.account is None and not self.module.check_mode:
            raise TreeError(
                f"There is no account {self.module.params['account']} here. Run the playbook storage first."
            )
        if not self._shares_are_there():
            return self._result(installed=True, changed=True, commit="", requirements=[])
        stamp = trees.read_stamp(self.path)
        installed = stamp is None or not self._is_wanted(stamp)
        if installed and not self.module.check_mode:
            with trees.locked(self.base):
                stamp = self._build()
        changed = installed
        current = os.path.join(self.base, CURRENT)
        if not trees.points_at(current, self.revision):
            changed = True
            if not self.module.check_mode:
                trees.flip(current, self.revision)
        for link in self.links:
            self._fill_share(link)
        for directory in self.module.params["state_directories"]:
            self._make_own(directory)
        commit = stamp["commit"] if stamp and not (installed and self.module.check_mode) else ""
        return self._result(installed, changed or bool(self.made), commit, self._requirements())

    def _result(self, installed: bool, changed: bool, commit: str, requirements: list[str]) -> dict[str, Any]:
        return {
            "changed": changed,
            "directory": self.path,
            "commit": commit,
            "installed": installed,
            "made": self.made,
            "requirements": requirements,
        }

    def _shares_are_there(self) -> bool:
        """Refuse shares that are not the right ones. A check on a bare host finds none, and ends there."""
        for link in self.links:
            if self.module.check_mode and (self.account is None or not os.path.isdir(link["path"])):
                return False
            share_access.check_marker(link["path"], link["share"], self.module.params["studio_id"], self.account)
        return True

    def _is_wanted(self, stamp: dict[str, Any]) -> bool:
        links = {link["name"]: link["path"] for link in self.links}
        commit = self.module.params["commit"] or (self.revision if repositories.is_commit(self.revision) else "")
        return (
            stamp.get("links") == links
            and all(trees.points_at(os.path.join(self.path, name), path) for name, path in links.items())
            and (not commit or stamp.get("commit") == commit)
        )

    def _build(self) -> dict[str, Any]:
        commit = self.repository.fetch(self.module.params["repo"], self.revision, self.module.params["commit"])
        with trees.replacing(self.path) as part:
            archive = os.path.join(part, ".export.tar")
            self.repository.archive(commit, archive)
            command = ["tar", "--extract", "--file", archive, "--directory", part, "--no-same-owner"]
            code, out, err = self.module.run_command(command, umask=0o022)
            if code != 0:
                raise TreeError(f"{' '.join(command)} failed: {(err or out).strip()}")
            os.unlink(archive)
            if not os.path.isfile(os.path.join(part, "main.py")):
                raise TreeError(f"{self.module.params['repo']} at {self.revision} has no main.py: is it ComfyUI?")
            os.mkdir(os.path.join(part, SEEDS), 0o755)
            for link in self.links:
                place = os.path.join(part, link["name"])
                if os.path.isdir(place):
                    os.rename(place, os.path.join(part, SEEDS, link["name"]))
                os.symlink(link["path"], place)
            stamp = {
                "commit": commit,
                "repo": self.module.params["repo"],
                "links": {link["name"]: link["path"] for link in self.links},
            }
            trees.write_stamp(part, stamp)
        return stamp

    def _fill_share(self, link: dict[str, Any]) -> None:
        """Make the directories of a share, and put there what the revision has and the share lacks."""
        share = link["path"]
        with share_access.acting_as(self.account):
            for name in link["directories"]:
                self._make(os.path.join(share, name), 0o2775)
        seeds = os.path.join(self.path, SEEDS, link["name"])
        if not os.path.isdir(seeds):
            return
        comparison = carry.compare_names(listing.scan(seeds).entries, share, self.account)
        self.made += [os.path.join(share, path) for _, path in comparison.missing]
        if not self.module.check_mode:
            carry.copy(comparison, share, carry.Hands(writer=self.account), may_exist=True)

    def _make_own(self, directory: str) -> None:
        """Make a directory of the account's own on this host; its parents belong to root when they are missing."""
        missing = not os.path.isdir(directory)
        if missing:
            self.made.append(directory)
        if self.module.check_mode or self.account is None:
            return
        if missing:
            os.makedirs(os.path.dirname(directory), mode=0o755, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o770)
        about = os.stat(directory)
        if (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) != (self.account.uid, self.account.gid, 0o2770):
            if not missing:
                self.made.append(directory)
            os.chown(directory, self.account.uid, self.account.gid)
            os.chmod(directory, 0o2770)  # noqa: S103  # members of the group may put files there

    def _make(self, directory: str, mode: int) -> None:
        if os.path.isdir(directory):
            return
        self.made.append(directory)
        if not self.module.check_mode:
            with contextlib.suppress(FileExistsError):  # another host was faster
                os.mkdir(directory, mode & 0o777)
                os.chmod(directory, mode)

    def _requirements(self) -> list[str]:
        """Which custom nodes on the share want Python packages."""
        share = next((link["path"] for link in self.links if link["name"] == CUSTOM_NODES), "")
        if not share:
            return []
        seen = children.run_one(lambda: _with_requirements(share), self.account, share_access.SHARE_TIMEOUT_S)
        if seen.error:
            raise TreeError(f"{share} cannot be listed: {seen.error}")
        return list(seen.value)


def _with_requirements(share: str) -> list[str]:
    names = sorted(name for name in os.listdir(share) if not name.startswith("."))
    return [name for name in names if os.path.isfile(os.path.join(share, name, "requirements.txt"))]


if __name__ == "__main__":
    main()
