# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real ComfyUI, installed by the role on a container of the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.scratch import scratch_repository
from tests.support.lab.containers import GATEWAY, INVENTORY, ansible, containers
from tests.support.lab.machines import ROOT, Machine

HOST = "role-server"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: needs the vendors' own programs; run by `make test-real`")


@pytest.fixture(scope="session")
def wanted_repository() -> str:
    """What COMFYUI_REPO says; without it there is nothing to test."""
    repository = os.environ.get("COMFYUI_REPO", "")
    if not repository:
        pytest.exit("Say which ComfyUI: make test-real COMFYUI_REPO=https://github.com/Comfy-Org/ComfyUI.git", 2)
    return repository


@pytest.fixture(scope="session")
def container(wanted_repository: str) -> Iterator[Machine]:
    """A bare container of the lab; afterwards the lab's containers are taken away, with the gigabytes in them."""
    with containers() as made:
        yield made[HOST]


@pytest.fixture(scope="session")
def source(
    wanted_repository: str, container: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The role's variables for where ComfyUI comes from. A path is served to the container over HTTP."""
    revision = os.environ.get("COMFYUI_REVISION", "")
    if "://" in wanted_repository:
        yield {"comfyui_repo": wanted_repository, **({"comfyui_revision": revision} if revision else {})}
        return
    served = tmp_path_factory.mktemp("served")
    commit, left_out = scratch_repository(Path(wanted_repository), served / "ComfyUI.git", revision or "HEAD")
    if left_out:
        print(f"{wanted_repository} lacks the content of {', '.join(left_out)}: installed without", file=sys.stderr)
    serve = [sys.executable, str(ROOT / "lab" / "standins" / "serve.py"), "--bind", GATEWAY, "--port", "0"]
    with subprocess.Popen([*serve, "--root", str(served)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().rpartition(" on ")[2].strip()
        try:
            yield {"comfyui_repo": f"{url}ComfyUI.git", "comfyui_revision": commit, "comfyui_commit": commit}
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def installation(container: Machine, source: dict[str, str]) -> Machine:
    """The container with ComfyUI running on it."""
    indexes = {"COMFYUI_TORCH_INDEX": "comfyui_torch_url", "COMFYUI_PIP_INDEX": "comfyui_pip_index"}
    chosen = {variable: os.environ[name] for name, variable in indexes.items() if os.environ.get(name)}
    variables = json.dumps({**source, **chosen})
    ansible(Path(__file__).with_name("install.yml"), "--inventory", str(INVENTORY), "--extra-vars", variables)
    return container
