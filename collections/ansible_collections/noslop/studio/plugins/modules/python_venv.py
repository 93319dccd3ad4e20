#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a virtual environment of exactly the packages in a lock.

``ansible.builtin.pip`` changes an environment in place, which a service may run from, and runs the packages' code as
the account that owns the result.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_venv
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Make a virtual environment of exactly the packages in a lock
description:
  - Installs the packages in a lock, each file compared with its hash, and no others. The lock is a text, as
    M(noslop.studio.package_lock) returns it, or a file in a wheel, which is installed after it.
  - The environment is built as C(account) in a directory of its own and then given to root, and is never changed
    afterwards. For another lock a new environment is built, which replaces the old one when it is whole. So no code of
    a package ever runs as root, and no service can change its own program.
  - It is relocatable (C(uv venv --relocatable)), because it is built in another directory. Its scripts use the
    interpreter beside them.
  - A stamp records its inputs. While they are the same, no index is used.
extends_documentation_fragment:
  - noslop.studio.attributes
  - noslop.studio.builds
  - noslop.studio.builds.account
  - noslop.studio.builds.python
attributes:
  check_mode:
    description: Returns whether packages would be installed.
    support: full
options:
  path:
    description: Path of the virtual environment. Its parents belong to root.
    type: path
    required: true
  lock:
    description: The packages, in one part for each step. When empty, C(wheel) contains them.
    type: str
    default: ""
  indexes:
    description: Package index of each step. Empty or omitted stands for the host's setting of pip, or PyPI.
    type: list
    elements: str
    default: []
  wheel:
    description: Wheel on the host that is installed after its dependencies.
    type: path
  wheel_sha256:
    description: SHA-256 of C(wheel).
    type: str
  wheel_lock:
    description: Name of the lock in C(wheel).
    type: str
  install_scripts:
    description:
      - Directories with an C(install.py) that runs with the environment before it is given to root, by the name of what
        has it. It runs as O(account) in a copy of its directory, which is removed afterwards.
    type: dict
    default: {}
  reader:
    description: Account that reads the directories in O(install_scripts).
    type: str
    default: noslop-build
  prune:
    description:
      - Directory of this environment's version directory and older ones, of which all but three are removed. Those that
        a process runs from are kept.
    type: path
"""

EXAMPLES = r"""
- name: Install the packages of ComfyUI
  noslop.studio.python_venv:
    path: /opt/noslop/comfyui/venvs/v0.3.64-cpu
    lock: "{{ packages.lock }}"
    indexes: [https://download.pytorch.org/whl/cpu]
    prune: /opt/noslop/comfyui/venvs
"""

RETURN = r"""
directory:
  description: The virtual environment.
  type: str
  returned: success
removed:
  description: Names of older version directories that were removed.
  type: list
  elements: str
  returned: success
"""

import hashlib
import io
import json
import os
import shutil
import zipfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.adopt import file_copy
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import format_gigabytes
from ansible_collections.noslop.studio.plugins.module_utils.install import builds, release_dir, uv
from ansible_collections.noslop.studio.plugins.module_utils.share import access

STAMP = release_dir.VENV_STAMP


def main() -> None:
    """Install the environment where it is missing or outdated."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "python": {"type": "str", "default": "python3"},
            "lock": {"type": "str", "default": ""},
            "indexes": {"type": "list", "elements": "str", "default": []},
            "allow_source": {"type": "list", "elements": "str", "default": []},
            "wheel": {"type": "path"},
            "wheel_sha256": {"type": "str"},
            "wheel_lock": {"type": "str"},
            "account": {"type": "str", "default": studio.BUILD_ACCOUNT},
            "programs": {"type": "path", "default": studio.PROGRAMS_DIR},
            "install_scripts": {"type": "dict", "default": {}},
            "reader": {"type": "str", "default": studio.BUILD_ACCOUNT},
            "prune": {"type": "path"},
        },
        required_together=[("wheel", "wheel_sha256", "wheel_lock")],
        supports_check_mode=True,
    )
    try:
        result = _install(module)
    except (builds.BuildError, file_copy.CopyError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['path']}: {error.strerror or error}")
    module.exit_json(**result)


def _install(module: AnsibleModule) -> dict[str, Any]:
    """Install the environment unless its stamp has the same inputs."""
    path: str = module.params["path"]
    result: dict[str, Any] = {"changed": False, "directory": path, "removed": []}
    stamp = release_dir.read_stamp(path, STAMP)
    try:
        python = uv.inspect_interpreter(module.params["python"])
    except builds.BuildError:
        if not module.check_mode:
            raise
        return {**result, "changed": True}
    wanted = _digest(module.params, python)
    if stamp is not None and stamp.get("digest") == wanted and _runs(path):
        return result
    result["changed"] = True
    if module.check_mode:
        return result
    account = builds.find_account(module.params["account"])
    if account is None:
        raise builds.BuildError(f"There is no account {module.params['account']} here. Run the playbook storage first.")
    if not module.params["lock"] and not module.params["wheel"]:
        raise builds.BuildError(f"Nothing says which packages belong into {path}.")
    _require_room(module.params)
    uv.warn_about_plain_http(module.params["indexes"], module.warn)
    with builds.building(module.params["programs"], account) as build:
        first_index = (module.params["indexes"] or [""])[-1]
        program = uv.install_uv(build, module.params["programs"], python, first_index)
        installer = uv.Uv(build, program, python, module.params["allow_source"])
        environment = installer.make_environment("venv")
        _fill(module.params, build, installer, environment)
        _run_install_scripts(module.params, build, environment)
        tree = build.transfer_to_root("venv", _interpreters(python))
        release_dir.write_stamp(tree, {"digest": wanted, "python": python.version}, STAMP)
        builds.install_tree(tree, path)
    if module.params["prune"]:
        result["removed"] = release_dir.prune(
            module.params["prune"], os.path.join(_below_version(path, module.params["prune"]), STAMP)
        )
    return result


def _require_room(params: dict[str, Any]) -> None:
    """Check that another environment like the largest of those beside it has room.

    Raises:
        BuildError: it has not.
    """
    beside = params["prune"]
    if not beside or not os.path.isdir(beside):
        return
    sizes = [release_dir.measure(os.path.join(beside, name)) for name in os.listdir(beside)]
    needed, free = max(sizes, default=0), shutil.disk_usage(beside).free
    if needed > free:
        raise builds.BuildError(
            f"{beside} has {format_gigabytes(free)} free, and another environment as large as those in it needs "
            f"{format_gigabytes(needed)}. Make room. Nothing was changed."
        )


def _digest(params: dict[str, Any], python: uv.Interpreter) -> str:
    source = [
        python.version,
        python.architecture,
        params["lock"],
        params["wheel_sha256"],
        sorted(params["allow_source"]),
    ]
    if params["install_scripts"]:  # otherwise the digest of an environment that exists stays
        source.append(params["install_scripts"])
    return hashlib.sha256(json.dumps(source).encode()).hexdigest()


def _runs(path: str) -> bool:
    return os.path.exists(os.path.join(path, "bin", "python"))


def _fill(params: dict[str, Any], build: builds.Build, installer: uv.Uv, environment: str) -> None:
    indexes: list[str] = params["indexes"]
    parts = uv.split_lock(params["lock"])
    content = b""
    if params["wheel"]:
        with open(params["wheel"], "rb") as stream:
            content = stream.read()
        parts = [_lock_in(params, content)]
    for number, part in enumerate(parts):
        if part.strip():
            installer.install(environment, part, indexes[number] if number < len(indexes) else "")
    if content:
        name = os.path.basename(params["wheel"])
        wheel_path = build.write(name, content)
        project = name.split("-")[0].replace("_", "-")
        installer.install(environment, f"{project} @ file://{wheel_path} --hash=sha256:{params['wheel_sha256']}\n")


def _run_install_scripts(params: dict[str, Any], build: builds.Build, environment: str) -> None:
    reader = access.share_owner(params["reader"])
    for name, directory in sorted(params["install_scripts"].items()):
        copied = os.path.join(build.directory, f"install-{name}")
        file_copy.copy_directory(directory, copied, file_copy.Accounts(reader=reader, writer=build.account))
        if os.path.exists(os.path.join(copied, "install.py")):
            python = os.path.join(environment, "bin", "python")
            build.run(["env", f"--chdir={copied}", python, "install.py"], {"VIRTUAL_ENV": environment})


def _lock_in(params: dict[str, Any], content: bytes) -> str:
    actual = hashlib.sha256(content).hexdigest()
    if actual != params["wheel_sha256"]:
        raise builds.BuildError(
            f"{params['wheel']} is not what was sent: its SHA-256 is {actual}, expected {params['wheel_sha256']}."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(params["wheel_lock"]).decode()
    except (KeyError, zipfile.BadZipFile) as error:
        raise builds.BuildError(
            f"{params['wheel']} has no {params['wheel_lock']}, which names the packages that it needs with their "
            "hashes: it is older than this version of NoSlop, or no wheel. Build it anew."
        ) from error


def _interpreters(python: uv.Interpreter) -> set[str]:
    """Return the paths that the environment's links to its interpreter may lead to."""
    program = shutil.which(python.path) or python.path
    return {os.path.abspath(program), os.path.realpath(program), *_chain(program)}


def _chain(path: str) -> set[str]:
    """Return each path in the chain of links from ``path``."""
    visited: set[str] = set()
    while os.path.islink(path) and path not in visited:
        visited.add(path)
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    return {*visited, path}


def _below_version(path: str, base: str) -> str:
    """Return the path of the environment in its version directory, which lies directly below ``base``."""
    below = os.path.relpath(path, base).split("/")[1:]
    return os.path.join(*below) if below else ""


if __name__ == "__main__":
    main()
