# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the real ComfyUI by the role, on a container of the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.git_copy import copy_repository
from tests.support.lab.containers import GATEWAY, INVENTORY, run_lab_playbook, running_containers
from tests.support.lab.machines import ROOT, Machine

HOST = "role-server"


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


@pytest.fixture(scope="session")
def source(repository: str, container: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the role's variables for the source of ComfyUI. A path is served to the container over HTTP."""
    revision = os.environ.get("COMFYUI_REVISION", "")
    if "://" in repository:
        yield {"comfyui_repo": repository, **({"comfyui_revision": revision} if revision else {})}
        return
    served_dir = tmp_path_factory.mktemp("served")
    commit, left_out = copy_repository(Path(repository), served_dir / "ComfyUI.git", revision or "HEAD")
    if left_out:
        print(f"{repository} lacks the content of {', '.join(left_out)}: installed without", file=sys.stderr)
    serve = [sys.executable, str(ROOT / "lab" / "standins" / "serve.py"), "--bind", GATEWAY, "--port", "0"]
    with subprocess.Popen([*serve, "--root", str(served_dir)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().rpartition(" on ")[2].strip()
        try:
            yield {"comfyui_repo": f"{url}ComfyUI.git", "comfyui_revision": commit, "comfyui_commit": commit}
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def installation(container: Machine, source: dict[str, str]) -> Machine:
    """Install ComfyUI in the container. Return the container."""
    indexes = {"COMFYUI_TORCH_INDEX": "comfyui_torch_url", "COMFYUI_PIP_INDEX": "comfyui_pip_index"}
    chosen = {variable: os.environ[name] for name, variable in indexes.items() if os.environ.get(name)}
    variables = json.dumps({**source, **chosen})
    run_lab_playbook(Path(__file__).with_name("install.yml"), "--inventory", str(INVENTORY), "--extra-vars", variables)
    return container
