#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the packages of a studio's hosts once, and write them to a file.

``ansible.builtin.pip`` resolves anew on every host and every day, so that two hosts have different packages.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: package_lock
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Resolve the packages of a studio's hosts once, and write them to a file
description:
  - Resolves packages in steps, each from an index of its own, and writes versions and hashes of all of them into a file
    beside the inventory. Packages of an earlier step do not change in later ones, so that a build of torch for one kind
    of GPU is not replaced by another's.
  - The file is resolved again only when its inputs change - steps, contents of requirements files, or O(allow_source).
    Another day, another host or new versions in the index change nothing.
  - It is named by O(name), version of Python and architecture, so that hosts of one kind share it. Ansible ignores such
    files in an inventory's directory.
  - Where the file cannot be written, a warning is shown, and the host installs the packages that were resolved now.
extends_documentation_fragment:
  - noslop.studio.attributes
  - noslop.studio.builds
  - noslop.studio.builds.account
  - noslop.studio.builds.python
attributes:
  check_mode:
    description: Resolves and writes nothing.
    support: full
options:
  directory:
    description: Directory of the file on the controller. When empty, no file is written.
    type: str
    default: ""
  name:
    description: First part of the file's name.
    type: str
    required: true
  steps:
    description: Steps to resolve, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      packages:
        description: Packages by name, optionally with versions.
        type: list
        elements: str
        default: []
      requirements:
        description: Requirements files on the host. Options in them are refused.
        type: list
        elements: path
        default: []
      node_requirements:
        description:
          - Requirements files of custom nodes, by the name of the node. A node without such a file has no requirements.
          - Where packages contradict each other, the message names the nodes that want them.
        type: dict
        default: {}
      index_url:
        description: Package index. Empty stands for the host's setting of pip, or PyPI.
        type: str
        default: ""
  reader:
    description: Account that reads the requirements files.
    type: str
    default: noslop-build
  resolve:
    description: Whether to resolve. Set by the action plugin; without it the module returns the inputs only.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Lock the packages of ComfyUI
  noslop.studio.package_lock:
    directory: "{{ inventory_dir }}"
    name: comfyui-v0.3.64-cpu
    steps:
      - packages: [torch]
        index_url: https://download.pytorch.org/whl/cpu
      - requirements: [/opt/noslop/comfyui/v0.3.64/requirements.txt]
  register: packages
"""

RETURN = r"""
lock:
  description: The packages, for M(noslop.studio.python_venv). Empty in check mode where they are not resolved yet.
  type: str
  returned: success
file:
  description: Path of the file on the controller; empty where there is none.
  type: str
  returned: success
"""

import hashlib
import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.install import builds, uv
from ansible_collections.noslop.studio.plugins.module_utils.share import access

REQUIREMENTS_LIMIT_CHARACTERS = 1024 * 1024


def main() -> None:
    """Return the inputs of a lock, or resolve it."""
    step_spec: dict[str, Any] = {
        "packages": {"type": "list", "elements": "str", "default": []},
        "requirements": {"type": "list", "elements": "path", "default": []},
        "node_requirements": {"type": "dict", "default": {}},
        "index_url": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "str", "default": ""},
            "name": {"type": "str", "required": True},
            "python": {"type": "str", "default": "python3"},
            "steps": {"type": "list", "elements": "dict", "required": True, "options": step_spec},
            "allow_source": {"type": "list", "elements": "str", "default": []},
            "reader": {"type": "str", "default": studio.BUILD_ACCOUNT},
            "account": {"type": "str", "default": studio.BUILD_ACCOUNT},
            "programs": {"type": "path", "default": studio.PROGRAMS_DIR},
            "resolve": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = _describe_or_resolve(module)
    except builds.BuildError as error:
        if not module.check_mode:
            module.fail_json(msg=str(error))
        result = {"inputs": "", "python_version": "", "architecture": ""}
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['programs']}: {error.strerror or error}")
    module.exit_json(changed=False, **result)


def _describe_or_resolve(module: AnsibleModule) -> dict[str, Any]:
    python = uv.inspect_interpreter(module.params["python"])
    reader = access.share_owner(module.params["reader"])
    if reader is None:
        raise builds.BuildError(f"There is no account {module.params['reader']} here. Run the playbook storage first.")
    steps = [_step(step, reader) for step in module.params["steps"]]
    allow_source = sorted(module.params["allow_source"])
    source = [
        python.version,
        python.architecture,
        [[*step.requirements, step.index_url] for step in steps],
        allow_source,
    ]
    inputs = hashlib.sha256(json.dumps(source).encode()).hexdigest()
    about = {"inputs": inputs, "python_version": python.version, "architecture": python.architecture}
    if not module.params["resolve"]:
        return about
    account = builds.find_account(module.params["account"])
    if account is None:
        raise builds.BuildError(f"There is no account {module.params['account']} here. Run the playbook storage first.")
    uv.warn_about_plain_http([step.index_url for step in steps], module.warn)
    with builds.building(module.params["programs"], account) as build:
        program = uv.install_uv(build, module.params["programs"], python, steps[-1].index_url)
        return {**about, "resolved": uv.Uv(build, program, python, allow_source).resolve(steps)}


def _step(step: dict[str, Any], reader: worker_processes.Account) -> uv.Step:
    wanted = [(requirement, "The inventory") for requirement in step["packages"]]
    for path in step["requirements"]:
        text = _read(path, reader)
        if text is None:
            raise builds.BuildError(f"{path} cannot be read: No such file or directory")
        wanted += [(requirement, path) for requirement in uv.parse_requirements(text, path)]
    for node, path in sorted(step["node_requirements"].items()):
        requirements = uv.parse_requirements(_read(path, reader) or "", path)
        wanted += [(requirement, f"The custom node {node}") for requirement in requirements]
    origins = tuple(origin for __, origin in wanted)
    return uv.Step(tuple(requirement for requirement, __ in wanted), step["index_url"], origins)


def _read(path: str, reader: worker_processes.Account) -> str | None:
    """Return the text of a file, or ``None`` where it does not exist."""
    outcome = worker_processes.run_one(lambda: _text(path), reader, access.SHARE_TIMEOUT_S)
    if outcome.error:
        raise builds.BuildError(f"{path} cannot be read: {outcome.error}")
    return None if outcome.value is None else str(outcome.value)


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(REQUIREMENTS_LIMIT_CHARACTERS)
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    main()
