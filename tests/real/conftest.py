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
import yaml

from tests.lab.machines import LAB, ROOT, Machine
from tests.real.scratch import scratch_repository

HOST = "role-server"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: needs the vendors' own programs; run by `make test-real`")


def ansible(playbook: Path, *words: str) -> str:
    """Run a playbook; returns what it printed, fails the test with it when it fails."""
    command = ["ansible-playbook", str(playbook), *words]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{playbook.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


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
    try:
        ansible(ROOT / "molecule" / "default" / "create.yml")
        ansible(ROOT / "molecule" / "default" / "reset.yml")
        inventory = yaml.safe_load((LAB / "containers" / "inventory.yml").read_text())["lab_containers"]
        yield Machine(HOST, inventory["hosts"][HOST]["ansible_host"], inventory["vars"]["ansible_user"])
    finally:
        ansible(ROOT / "molecule" / "default" / "destroy.yml")


@pytest.fixture(scope="session")
def gateway(container: Machine) -> str:
    """The controller's address as the container sees it."""
    return container.output_of("ip -4 route show default").split()[2]


@pytest.fixture(scope="session")
def source(wanted_repository: str, gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The role's variables for where ComfyUI comes from. A path is served to the container over HTTP."""
    revision = os.environ.get("COMFYUI_REVISION", "")
    if "://" in wanted_repository:
        yield {"comfyui_repo": wanted_repository, **({"comfyui_revision": revision} if revision else {})}
        return
    served = tmp_path_factory.mktemp("served")
    commit, left_out = scratch_repository(Path(wanted_repository), served / "ComfyUI.git", revision or "HEAD")
    if left_out:
        print(f"{wanted_repository} lacks the content of {', '.join(left_out)}: installed without", file=sys.stderr)
    serve = [sys.executable, str(ROOT / "molecule" / "standins" / "serve.py"), "--bind", gateway, "--port", "0"]
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
    inventory = str(LAB / "containers" / "inventory.yml")
    variables = json.dumps({**source, **chosen})
    ansible(Path(__file__).with_name("install.yml"), "--inventory", inventory, "--extra-vars", variables)
    return container
