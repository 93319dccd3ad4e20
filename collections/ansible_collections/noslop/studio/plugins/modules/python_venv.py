#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``noslop.studio.python_venv``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_venv
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Keep a virtual environment filled from several package indexes
description:
  - Installs packages in steps, each from an index of its own. What one step installs by name, later steps must leave at
    its version, so that a build of torch for one kind of GPU is not replaced by another's.
  - A stamp records steps and contents of requirements files. While they are the same, nothing is asked of any index.
  - An installation that was interrupted is finished by running it again.
  - The packages' own set-up code runs as the account, never as root.
  - Python's own way to put pip into an environment, C(ensurepip), unpacks and compiles all of it each time, which is
    most of what C(python -m venv) does. The same pip is unpacked here and used where it lies.
attributes:
  check_mode:
    description: Says whether something would be installed.
    support: full
  diff_mode:
    description: Not given.
    support: none
options:
  path:
    description: The virtual environment.
    type: path
    required: true
  pip:
    description: Whether the environment has a pip of its own afterwards, for who adds packages later.
    type: bool
    default: true
  python:
    description: The interpreter to make it with.
    type: str
    default: python3
  steps:
    description: What to install, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      packages:
        description: Packages by name, with versions if need be.
        type: list
        elements: str
        default: []
      requirements:
        description: Requirements files on the host.
        type: list
        elements: path
        default: []
      index_url:
        description: The index. Empty takes the host's own setting for pip, or PyPI. One without TLS gets a warning.
        type: str
        default: ""
  account:
    description: Who owns the environment and installs into it.
    type: str
    default: noslop
"""

EXAMPLES = r"""
- name: Install what ComfyUI needs
  noslop.studio.python_venv:
    path: /opt/noslop/comfyui/venv
    steps:
      - packages: [torch, torchvision, torchaudio]
        index_url: https://download.pytorch.org/whl/cpu
      - requirements: [/opt/noslop/comfyui/current/requirements.txt]
"""

RETURN = r"""
directory:
  description: The virtual environment.
  type: str
  returned: success
versions:
  description: Versions of the packages that steps named.
  type: dict
  returned: success
  sample: {torch: 2.9.0+cpu}
"""

import contextlib
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import urllib.parse
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import children, share_access, trees

STAMP = ".noslop-venv.json"
#: Where pip lies while it is used, and where it unpacks: /tmp is often too small for torch.
SCRATCH = ".tmp"
ERROR_LINES = 15
_VERSION_OF_PYTHON = "import sys; print('%d.%d' % sys.version_info[:2])"
#: Prints the wheels that Python's own `ensurepip` would install, from where it looks: the directory that Python was
#: built to take them from (configure --with-wheel-pkg-dir, as Debian's is), or beside itself.
_WHEELS = """
import glob, importlib.util, os, sysconfig
found = importlib.util.find_spec("ensurepip")
own = os.path.join(os.path.dirname(found.origin), "_bundled") if found else ""
for place in filter(None, (sysconfig.get_config_var("WHEEL_PKG_DIR"), own)):
    places = [os.path.join(glob.escape(place), name + "-*.whl") for name in ("pip", "setuptools")]
    wheels = [path for pattern in places for path in glob.glob(pattern)]
    if wheels:
        print(*wheels, sep="\\n")
        break
"""
_VERSIONS = (
    "import importlib.metadata, json, sys; "
    "print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))"
)


class VenvError(Exception):
    """The environment cannot be filled, in words for the person who has to mend it."""


def main() -> None:
    """Install what is missing."""
    step_spec: dict[str, Any] = {
        "packages": {"type": "list", "elements": "str", "default": []},
        "requirements": {"type": "list", "elements": "path", "default": []},
        "index_url": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "pip": {"type": "bool", "default": True},
            "python": {"type": "str", "default": "python3"},
            "steps": {"type": "list", "elements": "dict", "required": True, "options": step_spec},
            "account": {"type": "str", "default": "noslop"},
        },
        supports_check_mode=True,
    )
    account = share_access.account_named(module.params["account"])
    try:
        result = Venv(module, account).keep()
    except VenvError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['path']}: {error.strerror or error}")
    module.exit_json(**result)


class Venv:
    """One environment."""

    def __init__(self, module: AnsibleModule, account: children.Account | None) -> None:
        self.check_mode: bool = module.check_mode
        self.warn = module.warn
        self.path: str = module.params["path"]
        self.pip_inside: bool = module.params["pip"]
        self.interpreter: str = module.params["python"]
        self.steps: list[dict[str, Any]] = module.params["steps"]
        self.account_name: str = module.params["account"]
        self.account = account
        self.program = os.path.join(self.path, "bin", "python")

    def keep(self) -> dict[str, Any]:
        """Install unless the stamp says that everything is there."""
        stamp = trees.read_stamp(self.path, STAMP)
        wanted = self._digest()
        if stamp is not None and stamp.get("digest") == wanted and os.path.exists(self.program):
            return {"changed": False, "directory": self.path, "versions": stamp["versions"]}
        if self.check_mode:
            return {"changed": True, "directory": self.path, "versions": {}}
        if self.account is None:
            raise VenvError(f"There is no account {self.account_name} here. Run the playbook storage first.")
        with trees.locked(os.path.dirname(self.path)):
            versions = self._fill(start_over=stamp is None or stamp.get("python") != self._python_version())
            about = {"digest": wanted, "python": self._python_version(), "versions": versions}
            trees.write_stamp(self.path, about, STAMP)
        return {"changed": True, "directory": self.path, "versions": versions}

    def _digest(self) -> str:
        """What the steps say, with the contents of the files that they name; empty where a check cannot know."""
        try:
            files = [self._read(path) for step in self.steps for path in step["requirements"]]
            told = [self._python_version(), self.steps, files]
        except VenvError:
            if self.check_mode:
                return ""
            raise
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _read(self, path: str) -> str:
        seen = children.run_one(lambda: _text(path), self.account, share_access.SHARE_TIMEOUT_S)
        if seen.error:
            raise VenvError(f"{path} cannot be read: {seen.error}")
        return str(seen.value)

    def _python_version(self) -> str:
        return self._run([self.interpreter, "-c", _VERSION_OF_PYTHON], account=None).strip()

    def _fill(self, start_over: bool) -> dict[str, str]:
        """Install every step. Without the stamp, whatever an interrupted run left is cleared away first."""
        assert self.account is not None
        os.makedirs(self.path, mode=0o755, exist_ok=True)
        os.chown(self.path, self.account.uid, self.account.gid)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, STAMP))
        make = [self.interpreter, "-m", "venv", "--without-pip", *(["--clear"] if start_over else []), self.path]
        self._run(make, self.account)
        scratch = os.path.join(self.path, SCRATCH)
        os.makedirs(scratch, exist_ok=True)
        os.chown(scratch, self.account.uid, self.account.gid)
        versions: dict[str, str] = {}
        try:
            self._bring_pip(scratch)
            for step in self.steps:
                if step["packages"] or step["requirements"]:
                    self._install(step, versions, scratch)
                    names = [re.split(r"[^A-Za-z0-9._-]", package, maxsplit=1)[0] for package in step["packages"]]
                    versions.update(json.loads(self._run([self.program, "-c", _VERSIONS, *names], self.account)))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return versions

    def _bring_pip(self, scratch: str) -> None:
        """Unpack the pip that Python brings along; from there it installs everything, itself too where that is wanted.

        pip foresees this: "python pip-*.whl/pip install" (pip/__main__.py). Unpacked it can build packages as well.
        """
        wheels = self._run([self.program, "-c", _WHEELS], self.account).splitlines()
        if not wheels or not os.path.basename(wheels[0]).startswith("pip-"):
            raise VenvError(f"{self.interpreter} brings no pip along. On Debian: apt install python3-venv")
        self._run([self.program, "-m", "zipfile", "-e", wheels[0], os.path.join(scratch, "pip")], self.account)
        if self.pip_inside and not os.path.exists(os.path.join(self.path, "bin", "pip")):
            # What `python -m venv` would have installed: setuptools too, where Python still brings it.
            self._run([*self._pip(scratch), "--no-index", "--no-compile", "--ignore-installed", *wheels], self.account)

    def _pip(self, scratch: str) -> list[str]:
        pip = os.path.join(scratch, "pip", "pip")
        return [self.program, pip, "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]

    def _install(self, step: dict[str, Any], versions: dict[str, str], scratch: str) -> None:
        constraints = os.path.join(scratch, "constraints.txt")
        with open(constraints, "w", encoding="utf-8") as stream:
            stream.writelines(f"{name}=={version}\n" for name, version in versions.items())
        command = [*self._pip(scratch), "--constraint", constraints]
        if step["index_url"]:
            command += ["--index-url", step["index_url"], *self._trust(step["index_url"])]
        command += step["packages"]
        for path in step["requirements"]:
            command += ["--requirement", path]
        self._run(command, self.account, TMPDIR=scratch)

    def _trust(self, index_url: str) -> list[str]:
        """Pip passes over an index without TLS in silence, unless it is told to trust it. Whoever set it did."""
        about = urllib.parse.urlsplit(index_url)
        if about.scheme != "http" or not about.hostname:
            return []
        self.warn(f"{index_url} is read without encryption: whoever is on the way can change what is installed.")
        return ["--trusted-host", about.hostname]

    def _run(self, command: list[str], account: children.Account | None, **environment: str) -> str:
        who: dict[str, Any] = {}
        if account is not None and os.geteuid() == 0:
            who = {"user": account.uid, "group": account.gid, "extra_groups": list(account.groups)}
            environment["HOME"] = pwd.getpwuid(account.uid).pw_dir
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                cwd="/",
                umask=0o022,
                env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
                **who,
            )
        except OSError as error:
            raise VenvError(f"{command[0]} cannot be run: {error.strerror}") from error
        text: str = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            end = "\n".join(text.strip().splitlines()[-ERROR_LINES:])
            raise VenvError(f"{' '.join(command)} failed with exit code {done.returncode}:\n{end}")
        return text


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


if __name__ == "__main__":
    main()
