#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install ComfyUI's source beside shared models.

``ansible.builtin.git`` makes a checkout, in which the links to the shares count as changes: the next update would
fail or remove them. It also runs as root, or needs an account that may write to the program's directory.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: comfyui_tree
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Install ComfyUI's source beside shared models
description:
  - Exports a pinned revision into a version directory. A checkout is no alternative, because ComfyUI tracks files below
    C(models) and C(custom_nodes), and git reports links in their places as changes.
  - The revision is fetched and exported as C(builder), in a directory of its own, and given to root when it is whole.
  - Makes C(models) and C(custom_nodes) links to the shares. Files of the revision that the shares lack are copied
    there as the account that owns each share; nothing is replaced. A share that is read-only here does not change.
  - Makes the model directories on the share.
  - Keeps three version directories, the previous one, and any that a process runs from.
  - An existing version directory needs no network.
extends_documentation_fragment:
  - noslop.studio.attributes
  - noslop.studio.builds
attributes:
  check_mode:
    description: Returns what would be made, without a download. A share that does not exist yet is no failure.
    support: full
options:
  base:
    description: Directory of the version directories.
    type: path
    required: true
  repo:
    description: Address of the repository, or the path of one on this host. Required with C(present).
    type: str
  revision:
    description: Full SHA-1 of a commit, or a tag. A branch is refused. Required with C(present).
    type: str
  commit:
    description: Commit that the tag must point to. Empty accepts any.
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
        description: Path of the share.
        type: path
        required: true
      target:
        description: Directory that the link leads to, which shows the share, like a cache. By default O(links[].path).
        type: path
      share:
        description: Name of the share in its marker.
        type: str
        required: true
      account:
        description: Account that owns the share.
        type: str
        required: true
      directories:
        description: Directories to make on the share.
        type: list
        elements: str
        default: []
  builder:
    description: Account that fetches and exports.
    type: str
    default: noslop-build
  studio_id:
    description: Id of the studio in the shares' markers. Required with C(present).
    type: str
  state:
    description: Desired state. C(absent) removes C(base), and nothing else.
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
        account: noslop-models
        directories: [checkpoints, loras]
"""

RETURN = r"""
directory:
  description: The version directory.
  type: str
  returned: success
commit:
  description: Commit of the version directory.
  type: str
  returned: success
installed:
  description: Whether the version directory was made or made again.
  type: bool
  returned: success
removed:
  description: Names of older version directories that were removed.
  type: list
  elements: str
  returned: success
read_only:
  description: Paths of shares that are read-only here, and lack files of the revision.
  type: list
  elements: str
  returned: success
made:
  description: Directories and files that were made on the shares.
  type: list
  elements: str
  returned: success
requirements:
  description: Names of the directories below the share C(custom_nodes) that have a C(requirements.txt).
  type: list
  elements: str
  returned: success
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.adopt import file_copy, file_tree
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths, worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.install import builds, release_dir, repositories
from ansible_collections.noslop.studio.plugins.module_utils.share import access

#: Directory in a version directory with the revision's files whose places are links.
SEEDS = ".noslop-seeds"
CUSTOM_NODES = "custom_nodes"


class TreeError(Exception):
    """ComfyUI cannot be installed. The message is for the user who has to repair it."""


def main() -> None:
    """Install or remove ComfyUI's source."""
    link_spec: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        "path": {"type": "path", "required": True},
        "target": {"type": "path"},
        "share": {"type": "str", "required": True},
        "account": {"type": "str", "required": True},
        "directories": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "base": {"type": "path", "required": True},
            "repo": {"type": "str"},
            "revision": {"type": "str"},
            "commit": {"type": "str", "default": ""},
            "links": {"type": "list", "elements": "dict", "default": [], "options": link_spec},
            "builder": {"type": "str", "default": studio.BUILD_ACCOUNT},
            "programs": {"type": "path", "default": studio.PROGRAMS_DIR},
            "studio_id": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("repo", "revision", "studio_id"))],
        supports_check_mode=True,
    )
    try:
        result = _remove(module) if module.params["state"] == "absent" else Tree(module).install()
    except (
        TreeError,
        builds.BuildError,
        repositories.RepositoryError,
        access.ShareError,
        file_copy.CopyError,
    ) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or module.params['base']}: {error.strerror or error}. Nothing was replaced."
        )
    module.exit_json(**result)


def _remove(module: AnsibleModule) -> dict[str, Any]:
    base = module.params["base"]
    exists = os.path.lexists(base)
    if exists and not module.check_mode:
        safe_paths.remove_tree(base)  # follows no links: the shares stay
    nothing: dict[str, Any] = {"commit": "", "installed": False, "made": [], "requirements": [], "removed": []}
    return {"changed": exists, "directory": base, **nothing, "read_only": []}


class Tree:
    """One version directory and its shares."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.base: str = module.params["base"]
        self.revision: str = module.params["revision"]
        self.links: list[dict[str, Any]] = module.params["links"]
        self.targets = {link["name"]: link["target"] or link["path"] for link in self.links}
        self.path = os.path.join(self.base, self.revision)
        self.owners = {link["share"]: access.share_owner(link["account"]) for link in self.links}
        self.made: list[str] = []
        self.removed: list[str] = []
        self.read_only: list[str] = []

    def install(self) -> dict[str, Any]:
        """Install the version directory and fill the shares, as far as they are incomplete."""
        missing = [link["account"] for link in self.links if self.owners[link["share"]] is None]
        if missing and not self.module.check_mode:
            raise TreeError(f"There is no account {missing[0]} here. Run the playbook storage first.")
        if not self._check_shares():
            return self._result(installed=True, changed=True, commit="", requirements=[])
        stamp = release_dir.read_stamp(self.path)
        installed = stamp is None or not self._matches_request(stamp)
        if not self.module.check_mode:
            if installed:
                stamp = self._build()
            self.removed = self._prune() if installed else []
        for link in self.links:
            self._fill_share(link)
        commit = stamp["commit"] if stamp and not (installed and self.module.check_mode) else ""
        return self._result(installed, installed or bool(self.made), commit, self._requirements())

    def _prune(self) -> list[str]:
        # A copy of the repository that an earlier version of NoSlop made as root.
        safe_paths.remove_tree(os.path.join(self.base, "mirror.git"))
        return release_dir.prune(self.base, release_dir.STAMP)

    def _result(self, installed: bool, changed: bool, commit: str, requirements: list[str]) -> dict[str, Any]:
        return {
            "changed": changed,
            "directory": self.path,
            "commit": commit,
            "installed": installed,
            "made": self.made,
            "removed": self.removed,
            "read_only": self.read_only,
            "requirements": requirements,
        }

    def _check_shares(self) -> bool:
        """Check the markers of the shares. Returns False in check mode where a share does not exist yet."""
        for link in self.links:
            owner = self.owners[link["share"]]
            if self.module.check_mode and (owner is None or not os.path.isdir(link["path"])):
                return False
            access.check_marker(link["path"], link["share"], self.module.params["studio_id"], owner)
        return True

    def _matches_request(self, stamp: dict[str, Any]) -> bool:
        commit = self.module.params["commit"] or (self.revision if repositories.is_commit(self.revision) else "")
        return (
            stamp.get("links") == self.targets
            and all(release_dir.points_at(os.path.join(self.path, name), path) for name, path in self.targets.items())
            and (not commit or stamp.get("commit") == commit)
        )

    def _build(self) -> dict[str, Any]:
        repo: str = self.module.params["repo"]
        builder = builds.find_account(self.module.params["builder"])
        if builder is None:
            raise TreeError(
                f"There is no account {self.module.params['builder']} here. Run the playbook storage first."
            )
        with builds.building(self.module.params["programs"], builder) as build:
            repository = repositories.Repository(build)
            commit = repository.fetch(repo, self.revision, self.module.params["commit"])
            repository.export(commit, os.path.join(build.directory, "source"))
            tree = build.transfer_to_root("source")
            if not os.path.isfile(os.path.join(tree, "main.py")):
                raise TreeError(f"{repo} at {self.revision} has no main.py: is it ComfyUI?")
            os.mkdir(os.path.join(tree, SEEDS), 0o755)
            for link in self.links:
                link_path = os.path.join(tree, link["name"])
                if os.path.isdir(link_path) and not os.path.islink(link_path):
                    os.rename(link_path, os.path.join(tree, SEEDS, link["name"]))
                os.symlink(self.targets[link["name"]], link_path)
            stamp = {
                "commit": commit,
                "repo": repo,
                "links": self.targets,
            }
            release_dir.write_stamp(tree, stamp)
            builds.install_tree(tree, self.path)
        return stamp

    def _fill_share(self, link: dict[str, Any]) -> None:
        """Make the directories of a share, and copy the revision's files that the share lacks."""
        share, owner = link["path"], self.owners[link["share"]]
        seeds = os.path.join(self.path, SEEDS, link["name"])
        entries = [file_tree.Entry(name, "directory", "", mode=0o2775) for name in link["directories"]]
        if os.path.isdir(seeds):
            declared = set(link["directories"])
            entries += [entry for entry in file_tree.scan(seeds).entries if entry.path not in declared]
        comparison = file_copy.compare_names(entries, share, owner)
        if not comparison.missing:
            return
        if not _is_writable(share, owner):
            self.read_only.append(share)
            return
        self.made += [os.path.join(share, path) for __, path in comparison.missing]
        if not self.module.check_mode:
            file_copy.copy(comparison, share, file_copy.Accounts(writer=owner), may_exist=True)

    def _requirements(self) -> list[str]:
        """Return the custom nodes on the share that have requirements."""
        link = next((link for link in self.links if link["name"] == CUSTOM_NODES), None)
        if link is None:
            return []
        share, owner = link["path"], self.owners[link["share"]]
        outcome = worker_processes.run_one(lambda: _with_requirements(share), owner, access.SHARE_TIMEOUT_S)
        if outcome.error:
            raise TreeError(f"{share} cannot be listed: {outcome.error}")
        return list(outcome.value)


def _is_writable(share: str, owner: worker_processes.Account | None) -> bool:
    """Return whether the owner may write to a share here, which a read-only export denies (access(2) over NFS)."""
    outcome = worker_processes.run_one(lambda: os.access(share, os.W_OK), owner, access.SHARE_TIMEOUT_S)
    if outcome.error:
        raise TreeError(f"{share} does not answer: {outcome.error}")
    return bool(outcome.value)


def _with_requirements(share: str) -> list[str]:
    names = sorted(name for name in os.listdir(share) if not name.startswith("."))
    return [name for name in names if os.path.isfile(os.path.join(share, name, "requirements.txt"))]


if __name__ == "__main__":
    main()
