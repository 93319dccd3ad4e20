"""Deploy the studios of the fault tests, one after the other: two backends, and one that takes over a ComfyUI."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

import pytest

from tests.faults.backends import Backends, deploy_backends
from tests.support.lab.driver import INVENTORY
from tests.support.lab.host_state import read_state
from tests.support.lab.machines import LAB, ROOT, Machine, list_machines, parse_checksums, reset_machines

HOME_COMFYUI = "/home/artist/ComfyUI"
OWN_FILES = {
    "models/checkpoints/own-model.safetensors": 3_000_000,
    "models/loras/deep/er/own-lora.safetensors": 70_000,
    "models/notes of mine.txt": 20,
    "custom_nodes/my_node/__init__.py": 0,
    "custom_nodes/my_node/settings.json": 12,
}
START_COMFYUI = f"""
set -eu
git clone -q http://10.77.42.1:8042/ComfyUI.git {HOME_COMFYUI}
python3 -m venv {HOME_COMFYUI}/venv
{HOME_COMFYUI}/venv/bin/pip install -q --index-url http://10.77.42.1:8042/whl/cpu/ --trusted-host 10.77.42.1 torch
cd {HOME_COMFYUI}
{{}}
setsid nohup venv/bin/python main.py --listen 127.0.0.1 --port 8188 --cpu >comfyui.log 2>&1 </dev/null &
"""


@dataclass(frozen=True)
class Takeover:
    """The machines of a studio, and the files of the ComfyUI that a user ran before it: relative path to SHA-256.

    `bare` is the state of each machine before the studio.
    """

    machines: dict[str, Machine]
    checksums: dict[str, str]
    output: str
    bare: dict[str, frozenset[str]]


def read_checksums(machine: Machine, directory: str) -> dict[str, str]:
    """Return the SHA-256 of every file below a directory, by relative path."""
    command = f"cd {directory} && find . -type f -print0 | xargs -0 -r sha256sum"
    return parse_checksums(machine.check_output(command, root=True))


@pytest.fixture(scope="session")
def takeover() -> Takeover:
    """Reset the lab, start a ComfyUI as a user on worker1, then deploy a studio that takes it over."""
    reset_machines()
    shutil.rmtree(INVENTORY, ignore_errors=True)
    worker = list_machines()["worker1"]
    make = "\n".join(
        f"mkdir -p '{path.rpartition('/')[0]}'; head -c {size} /dev/urandom > '{path}'"
        for path, size in OWN_FILES.items()
    )
    worker.check_output(START_COMFYUI.format(make), timeout_s=600)
    before = {
        f"{tree}/{path}": digest
        for tree in ("models", "custom_nodes")
        for path, digest in read_checksums(worker, f"{HOME_COMFYUI}/{tree}").items()
    }
    bare = {name: read_state(machine) for name, machine in list_machines().items()}
    host_vars = INVENTORY / "host_vars" / "worker1" / "existing.yml"
    host_vars.parent.mkdir(parents=True)
    host_vars.write_text(f"---\ncomfyui_existing_dir: {HOME_COMFYUI}\n")
    done = subprocess.run(
        ["bash", "lab/studio/demo.sh"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    (LAB / "takeover.log").write_text(output)
    assert done.returncode == 0, output
    return Takeover(list_machines(), before, output, bare)


@pytest.fixture(scope="session")
def backends() -> Backends:
    """Reset the lab, then deploy storage and a backend on each worker. Runs before `takeover`, which resets it."""
    return deploy_backends()
