# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the real ComfyUI by the role, on a container of the lab."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.git_copy import copy_repository
from tests.support.lab.comfyui_host import ComfyuiHost
from tests.support.lab.containers import GATEWAY, running_containers
from tests.support.lab.machines import ROOT, Machine

HOST = "role-server"
#: Tag or commit of the version that is tested, and of the version that is upgraded to it.
REVISION = os.environ.get("COMFYUI_VERSION", "v0.33.0")
OLD_REVISION = os.environ.get("COMFYUI_OLD_VERSION", "v0.3.64")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: needs the vendors' own programs; run by `make test-real`")


@pytest.fixture(scope="session")
def repository() -> str:
    """Return COMFYUI_REPO. End the run without it, because then there is nothing to test."""
    repository = os.environ.get("COMFYUI_REPO", "")
    if not repository:
        pytest.exit("Say which ComfyUI: make test-real COMFYUI_REPO=https://github.com/Comfy-Org/ComfyUI.git", 2)
    return repository


@pytest.fixture(scope="session")
def container(repository: str) -> Iterator[Machine]:
    """Start a bare container of the lab. Remove the lab's containers afterwards, with the gigabytes in them."""
    with running_containers() as hosts:
        yield hosts[HOST]


@dataclass(frozen=True)
class Source:
    """Where a revision comes from: the address of a repository, and the tag or commit there."""

    repo: str
    revision: str

    @property
    def variables(self) -> dict[str, object]:
        """Return the variables of the role. The commit of a tag is not compared with the tested one."""
        commit = self.revision if re.fullmatch(r"[0-9a-f]{40}", self.revision) else ""
        return {"comfyui_repo": self.repo, "comfyui_commit": commit}


@contextlib.contextmanager
def serving_directory(directory: Path, address: str) -> Iterator[str]:
    """Serve a directory over HTTP on an address of the lab. Yield its URL, which ends with a slash."""
    serve = [sys.executable, str(ROOT / "lab" / "standins" / "serve.py"), "--bind", address, "--port", "0"]
    with subprocess.Popen([*serve, "--root", str(directory)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().rpartition(" on ")[2].strip()
        finally:
            server.terminate()


@contextlib.contextmanager
def serving(directory: Path, address: str) -> Iterator[Callable[[str, str, str], Source]]:
    """Serve copies of repositories of this computer over HTTP on an address of the lab.

    Yields a function from a repository, a revision, and a name for the copy, to the copy's address and commit. Of a
    repository that has an address already, it returns that and the revision.
    """
    with serving_directory(directory, address) as url:

        @functools.cache
        def copy(repository: str, revision: str, name: str) -> Source:
            if "://" in repository:
                return Source(repository, revision)
            (directory / revision).mkdir(exist_ok=True)
            commit, left_out = copy_repository(Path(repository), directory / revision / f"{name}.git", revision)
            if left_out:
                print(f"{repository} lacks the content of {', '.join(left_out)}: installed without", file=sys.stderr)
            return Source(f"{url}{revision}/{name}.git", commit)

        yield copy


@pytest.fixture(scope="session")
def find_source(
    repository: str, container: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Source]]:
    """Return a function from a revision of ComfyUI to where the container has it from."""
    with serving(tmp_path_factory.mktemp("served"), GATEWAY) as copy:
        yield lambda revision: copy(repository, revision, "ComfyUI")


def list_indexes() -> dict[str, object]:
    """Return the variables of the role for the indexes that the environment names."""
    names = {"COMFYUI_TORCH_INDEX": "comfyui_torch_url", "COMFYUI_PIP_INDEX": "comfyui_pip_index"}
    return {variable: os.environ[name] for name, variable in names.items() if os.environ.get(name)}


@pytest.fixture(scope="session")
def comfyui(
    container: Machine, find_source: Callable[[str], Source], tmp_path_factory: pytest.TempPathFactory
) -> ComfyuiHost:
    """Install ComfyUI in the container."""
    host = ComfyuiHost(container, {**list_indexes(), "comfyui_lock_dir": str(tmp_path_factory.mktemp("locks"))})
    source = find_source(REVISION)
    host.converge(source.revision, storage=True, **source.variables)
    return host


@pytest.fixture(scope="session")
def installation(comfyui: ComfyuiHost) -> Machine:
    """Return the container with ComfyUI."""
    return comfyui.machine
