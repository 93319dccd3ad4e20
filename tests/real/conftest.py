# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the real ComfyUI by the role, on a container of the lab."""

from __future__ import annotations

import functools
import os
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
    """Where a revision of ComfyUI comes from: variables of the role."""

    revision: str
    variables: dict[str, object]


@pytest.fixture(scope="session")
def find_source(
    repository: str, container: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Source]]:
    """Return a function from a revision to its source. A path is served to the container over HTTP."""
    if "://" in repository:
        yield lambda revision: Source(revision, {"comfyui_repo": repository, "comfyui_commit": ""})
        return
    served_dir = tmp_path_factory.mktemp("served")
    serve = [sys.executable, str(ROOT / "lab" / "standins" / "serve.py"), "--bind", GATEWAY, "--port", "0"]
    with subprocess.Popen([*serve, "--root", str(served_dir)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().rpartition(" on ")[2].strip()

        @functools.cache
        def copy(revision: str) -> Source:
            name = f"{revision}/ComfyUI.git"
            (served_dir / revision).mkdir()
            commit, left_out = copy_repository(Path(repository), served_dir / name, revision)
            if left_out:
                print(f"{repository} lacks the content of {', '.join(left_out)}: installed without", file=sys.stderr)
            return Source(commit, {"comfyui_repo": f"{url}{name}", "comfyui_commit": commit})

        try:
            yield copy
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def comfyui(
    container: Machine, find_source: Callable[[str], Source], tmp_path_factory: pytest.TempPathFactory
) -> ComfyuiHost:
    """Install ComfyUI in the container."""
    indexes = {"COMFYUI_TORCH_INDEX": "comfyui_torch_url", "COMFYUI_PIP_INDEX": "comfyui_pip_index"}
    chosen = {variable: os.environ[name] for name, variable in indexes.items() if os.environ.get(name)}
    host = ComfyuiHost(container, {**chosen, "comfyui_lock_dir": str(tmp_path_factory.mktemp("locks"))})
    source = find_source(REVISION)
    host.converge(source.revision, storage=True, **source.variables)
    return host


@pytest.fixture(scope="session")
def installation(comfyui: ComfyuiHost) -> Machine:
    """Return the container with ComfyUI."""
    return comfyui.machine
