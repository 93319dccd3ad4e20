#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install ComfyUI's custom nodes on the share of a studio.

``ansible.builtin.git`` runs as one account, which would fetch foreign code and own the share too. It replaces what is
there, and has no way back to the commit before.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: custom_nodes
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Install ComfyUI's custom nodes on the share of a studio
description:
  - Fetches each node as O(builder), compares it with its commit or SHA-256, and copies it to the share as O(account),
    into a directory of that revision. A link with the node's name leads to it.
  - All nodes are fetched before a link changes, and a link changes in one step.
  - A directory or a link of that name that was made by other means is never replaced. The module fails before anything
    is fetched.
  - The link of a node that left the list is removed. Three revisions of each node stay on the share, for going back
    without a network.
  - Returns the custom nodes that were installed by other means, with their commit where they are a git checkout.
extends_documentation_fragment:
  - noslop.studio.attributes
  - noslop.studio.builds
attributes:
  check_mode:
    description: Returns what would be made, without a download. A share that does not exist yet is no failure.
    support: full
options:
  path:
    description: Path of the share.
    type: path
    required: true
  share:
    description: Name of the share in its marker.
    type: str
    default: comfyui_custom_nodes
  account:
    description: Account that owns the share.
    type: str
    required: true
  studio_id:
    description: Id of the studio in the share's marker.
    type: str
    required: true
  nodes:
    description: All custom nodes of the studio, as the lookup P(noslop.studio.studio#lookup) returns them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the directory on the share.
        type: str
        required: true
      repo:
        description: Address or path of the git repository.
        type: str
        default: ""
      commit:
        description: Full SHA-1 of the commit in O(nodes[].repo).
        type: str
        default: ""
      archive:
        description: Address or path of an archive, in place of O(nodes[].repo).
        type: str
        default: ""
      sha256:
        description: SHA-256 of O(nodes[].archive).
        type: str
        default: ""
      hosts:
        description: Hosts that run the node. The share has it for all hosts.
        type: list
        elements: str
      allow_install_script:
        description: Whether C(install.py) of the node may run, which it does elsewhere.
        type: bool
        default: false
      allow_source:
        description: Packages that may be built from source, which is done elsewhere.
        type: list
        elements: str
        default: []
      directory:
        description: Path of its files below the share, as the lookup returns it for others.
        type: str
  builder:
    description: Account that fetches and unpacks.
    type: str
    default: noslop-build
  state:
    description: V(fetched) copies the files to the share, and V(present) changes the links too.
    type: str
    choices: [present, fetched]
    default: present
"""

EXAMPLES = r"""
- name: Install a custom node on the share
  noslop.studio.custom_nodes:
    path: /mnt/noslop/comfyui/custom_nodes
    account: noslop-nodes
    studio_id: "{{ noslop_studio_id }}"
    nodes:
      - name: painter
        repo: https://git.example.org/painter.git
        commit: 8f14e45fceea167a5a36dedd4bea2543c1a2b3d4
"""

RETURN = r"""
fetched:
  description: Names of the nodes whose files were copied to the share.
  type: list
  elements: str
  returned: success
linked:
  description: Names of the nodes whose link was made or changed.
  type: list
  elements: str
  returned: success
unlinked:
  description: Names of the nodes that left the list, whose link was removed.
  type: list
  elements: str
  returned: success
removed:
  description: Directories of older revisions that were removed, each as name and revision.
  type: list
  elements: str
  returned: success
others:
  description: What ComfyUI imports from the share and NoSlop did not install.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the entry.
      type: str
    bundled:
      description: Whether ComfyUI itself brings it.
      type: bool
    commit:
      description: Commit of a git checkout, or empty.
      type: str
    repo:
      description: Address of the repository of a git checkout, or empty.
      type: str
    version:
      description: Version in C(pyproject.toml), or empty.
      type: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.adopt import file_copy
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.install import builds, downloads, node_store, repositories
from ansible_collections.noslop.studio.plugins.module_utils.share import access

TREE = "node"


class NodeError(Exception):
    """The custom nodes cannot be installed. The message is for the user who has to repair it."""


def main() -> None:
    """Install the custom nodes on the share."""
    node_spec: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        **{key: {"type": "str", "default": ""} for key in ("repo", "commit", "archive", "sha256")},
        "hosts": {"type": "list", "elements": "str"},
        "allow_install_script": {"type": "bool", "default": False},
        "allow_source": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "share": {"type": "str", "default": "comfyui_custom_nodes"},
            "account": {"type": "str", "required": True},
            "studio_id": {"type": "str", "required": True},
            "nodes": {"type": "list", "elements": "dict", "required": True, "options": node_spec},
            "builder": {"type": "str", "default": studio.BUILD_ACCOUNT},
            "programs": {"type": "path", "default": studio.PROGRAMS_DIR},
            "state": {"type": "str", "choices": ["present", "fetched"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = Share(module).install()
    except (
        NodeError,
        builds.BuildError,
        downloads.DownloadError,
        repositories.RepositoryError,
        access.ShareError,
        file_copy.CopyError,
    ) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['path']}: {error.strerror or error}")
    module.exit_json(**result)


class Share:
    """The share of custom nodes, and what it is to have."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.path: str = module.params["path"]
        self.wanted: dict[str, dict[str, Any]] = {node["name"]: node for node in module.params["nodes"]}
        self.owner = access.share_owner(module.params["account"])

    def install(self) -> dict[str, Any]:
        """Fetch what the share lacks, and change the links. An entry of another's with a node's name stops it first."""
        if self.owner is None and not self.module.check_mode:
            raise NodeError(_explain_no_account(self.module.params["account"]))
        if self.module.check_mode and (self.owner is None or not os.path.isdir(self.path)):
            names = sorted(self.wanted)
            return self._result(names, names, [], [])
        access.check_marker(self.path, self.module.params["share"], self.module.params["studio_id"], self.owner)
        links = self.module.params["state"] == "present"
        entries, fetch = self._inspect()
        self._require_no_conflict(entries)
        revisions = {entry["name"]: entry["revision"] for entry in entries}
        link = [name for name, node in self.wanted.items() if links and revisions.get(name) != _revision(node)]
        unlink = [name for name, revision in revisions.items() if links and revision and name not in self.wanted]
        others = [
            {key: value for key, value in entry.items() if key != "revision"}
            for entry in entries
            if not entry["revision"]
        ]
        if self.module.check_mode or not (fetch or link or unlink):
            return self._result(fetch, link, unlink, others)
        self._require_writable()
        for name in fetch:
            self._fetch(name, self.wanted[name])
        removed = self._change_links(link, unlink)
        return {**self._result(fetch, link, unlink, others), "removed": removed}

    def _inspect(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return what the share has, and the names of the nodes whose revision it lacks."""

        def work() -> list[Any]:
            lacking = [
                name
                for name, node in self.wanted.items()
                if not node_store.has_revision(self.path, name, _revision(node))
            ]
            return [node_store.list_nodes(self.path), lacking]

        outcome = worker_processes.run_one(work, self.owner, access.SHARE_TIMEOUT_S)
        if outcome.error:
            raise NodeError(f"{self.path} cannot be listed: {outcome.error}")
        entries, lacking = outcome.value
        return entries, lacking

    def _require_no_conflict(self, entries: list[dict[str, Any]]) -> None:
        conflicts = [entry for entry in entries if entry["name"] in self.wanted and not entry["revision"]]
        if not conflicts:
            return
        name = conflicts[0]["name"]
        names = ", ".join(str(entry["name"]) for entry in conflicts)
        has = f" It has commit {conflicts[0]['commit']}." if conflicts[0]["commit"] else ""
        raise NodeError(
            f"{self.path} has {names}, which NoSlop did not install and does not replace.{has} Nothing was changed. "
            f"Move it away (mv {self.path}/{name} ~/{name}) and run again, or take it out of noslop_custom_nodes."
        )

    def _require_writable(self) -> None:
        outcome = worker_processes.run_one(lambda: os.access(self.path, os.W_OK), self.owner, access.SHARE_TIMEOUT_S)
        if outcome.error or not outcome.value:
            raise NodeError(
                f"{self.path} cannot be written here{f': {outcome.error}' if outcome.error else ''}. Nothing was "
                "changed. Set comfyui_nodes_host to the storage server, which may write to it."
            )

    def _fetch(self, name: str, node: dict[str, Any]) -> None:
        """Fetch a node as the build account, and copy it to the share as the account that owns the share."""
        builder = builds.find_account(self.module.params["builder"])
        if builder is None:
            raise NodeError(_explain_no_account(self.module.params["builder"]))
        with builds.building(self.module.params["programs"], builder) as build:
            if node["repo"]:
                repository = repositories.Repository(build)
                commit = repository.fetch(node["repo"], node["commit"], node["commit"])
                repository.export(commit, os.path.join(build.directory, TREE))
            else:
                _unpack_archive(build, node)
            tree = _find_top(build.transfer_to_root(TREE))
            if not os.path.isfile(os.path.join(tree, "__init__.py")):
                raise NodeError(f"{node['repo'] or node['archive']} has no __init__.py: is it a custom node?")
            with access.acting_as(self.owner):
                part = node_store.start_revision(self.path, name)
            file_copy.copy_directory(tree, part, file_copy.Accounts(writer=self.owner))
            with access.acting_as(self.owner):
                node_store.finish_revision(self.path, name, _revision(node))

    def _change_links(self, link: list[str], unlink: list[str]) -> list[str]:
        removed: list[str] = []
        with access.acting_as(self.owner):
            for name in link:
                node_store.link_revision(self.path, name, _revision(self.wanted[name]))
            for name in unlink:
                node_store.remove_link(self.path, name)
            for name in link:
                removed += [f"{name}/{revision}" for revision in node_store.remove_old_revisions(self.path, name)]
        return removed

    def _result(
        self, fetched: list[str], linked: list[str], unlinked: list[str], others: list[dict[str, Any]]
    ) -> dict[str, Any]:
        return {
            "changed": bool(fetched or linked or unlinked),
            "fetched": fetched,
            "linked": linked if self.module.params["state"] == "present" else [],
            "unlinked": unlinked,
            "removed": [],
            "others": others,
        }


def _explain_no_account(name: str) -> str:
    return f"There is no account {name} here. Run the playbook storage first."


def _revision(node: dict[str, Any]) -> str:
    return node_store.make_revision(node["commit"], node["sha256"])


def _unpack_archive(build: builds.Build, node: dict[str, Any]) -> None:
    file = os.path.join(build.root_directory, "archive")
    actual = downloads.download(node["archive"], file)
    if actual != node["sha256"]:
        raise NodeError(
            f"{node['archive']} is not what it should be and was not unpacked: its SHA-256 is {actual}, expected "
            f"{node['sha256']}. If this is the file you want, set its sha256; else find out who changed it."
        )
    tree = os.path.join(build.directory, TREE)
    build.run(["mkdir", tree])
    if node["archive"].endswith(".zip"):
        os.chmod(file, 0o644)
        with open(file, "rb") as stream:
            # Passed open, because the build account cannot enter root's directory.
            build.run(["python3", "-m", "zipfile", "--extract", "/dev/stdin", tree], stdin=stream)
    else:
        downloads.unpack(build, file, tree, node["archive"])


def _find_top(tree: str) -> str:
    """Return the only directory of an archive that has nothing beside it, as those of forges, or the tree itself."""
    names = os.listdir(tree)
    top = os.path.join(tree, names[0]) if len(names) == 1 else tree
    return top if os.path.isdir(top) and not os.path.islink(top) else tree


if __name__ == "__main__":
    main()
