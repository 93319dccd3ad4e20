# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy a studio of an older version from its own checkout, with projects, models and renders in it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.backend.studio import png
from tests.support.lab.driver import INVENTORY
from tests.support.lab.machines import LAB, ROOT, Machine, list_machines, parse_checksums, reset_machines, wait_for

#: The last version in which one account owned every share and ran every service.
OLD_VERSION = os.environ.get("NOSLOP_UPGRADE_FROM", "8ae3555bb4deff5228c02dbb5d6fbb1b8fea5a45")
CHECKOUT = LAB / "old-version"
COMFYUI = "/mnt/noslop/comfyui"
STATE = "/var/lib/noslop/comfyui"
ADD_FILES = f"""
set -eu
head -c 3000000 /dev/urandom > {COMFYUI}/models/checkpoints/own-model.safetensors
mkdir -p {COMFYUI}/models/loras/deep/er {COMFYUI}/custom_nodes/my_node
head -c 70000 /dev/urandom > "{COMFYUI}/models/loras/deep/er/own lora.safetensors"
echo 'NODE_CLASS_MAPPINGS = {{}}' > {COMFYUI}/custom_nodes/my_node/__init__.py
echo '{{}}' > {COMFYUI}/custom_nodes/my_node/settings.json
ollama pull tinyllama
"""
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "of-before"}},
}
CHECKSUM_COMMAND = f"""
cd / && for tree in mnt/noslop {STATE.lstrip("/")}/output; do
    [ ! -d $tree ] || find $tree -xdev -type f -not -path '*/.backups/*' -not -name '*.pyc' -print0
done | xargs -0 -r sha256sum
"""
LAYOUT_COMMAND = (
    "find /etc /opt/noslop /mnt/noslop -xdev -not -path '*/.backups*' -printf '%p %y %U %G %m %l\\n' | sort"
)


@dataclass(frozen=True)
class OldStudio:
    """A studio of the older version: machines, a token of its backend, and a project with a workflow and a final."""

    machines: dict[str, Machine]
    token: str
    project: str
    image: str

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:  # noqa: ANN401 - JSON
        """Send a request to the backend with the old token. Return its answer; raise HTTPError for an error."""
        request = urllib.request.Request(
            f"http://{self.machines['server'].address}:8765/api/v1{path}",
            data=body,
            method=method,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())

    def read_checksums(self) -> dict[str, dict[str, str]]:
        """Return the SHA-256 of every file on the server's shares and in the workers' outputs, by host and path."""
        return {
            name: parse_checksums(machine.check_output(CHECKSUM_COMMAND, root=True, timeout_s=600))
            for name, machine in self.machines.items()
        }

    def read_layout(self) -> dict[str, list[str]]:
        """Return each path of settings, programs and shares with its kind, owner, mode and link, by host."""
        return {
            name: machine.check_output(LAYOUT_COMMAND, root=True, timeout_s=600).splitlines()
            for name, machine in self.machines.items()
        }


def deploy_old_studio() -> OldStudio:
    """Deploy the older version on bare machines, and add projects, models and renders."""
    reset_machines()
    deploy_old_version()
    lab = list_machines()
    created = lab["server"].check_output(
        "noslop-backend token create of-before --scope write --days 7 --json", root=True, timeout_s=300
    )
    studio = OldStudio(lab, json.loads(created)["token"]["text"], "", "")
    project = studio.request("POST", "/projects", json.dumps({"name": "Of before"}).encode())["id"]
    for version in range(3):
        studio.request("POST", f"/projects/{project}/workflows?name=w", json.dumps({"version": version}).encode())
    images = [
        studio.request("POST", f"/projects/{project}/media?name=m{number}.png", png(number + 1), "image/png")["id"]
        for number in range(3)
    ]
    studio.request("POST", f"/projects/{project}/files/{images[0]}/promote", json.dumps({"name": "A final"}).encode())
    lab["worker1"].check_output(ADD_FILES, timeout_s=600)
    _render(lab["worker1"])
    return OldStudio(lab, studio.token, project, images[1])


def deploy_old_version() -> None:
    """Run the older version's own demo, and copy its inventory here, as a person does who updates a checkout."""
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    shutil.rmtree(INVENTORY, ignore_errors=True)
    archive = subprocess.run(["git", "archive", OLD_VERSION], cwd=ROOT, capture_output=True, check=False)
    assert archive.returncode == 0, f"the history has to have {OLD_VERSION}: git fetch --unshallow: {archive.stderr!r}"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tree:
        tree.extractall(CHECKOUT, filter="data")
    (CHECKOUT / ".lab").symlink_to(LAB)
    for command in (("make", "backend-wheel"), ("bash", "molecule/studio/demo.sh")):
        run_in_old_version(*command)
    shutil.copytree(CHECKOUT / "inventories" / "demo", INVENTORY, symlinks=True)


def run_in_old_version(*command: str) -> str:
    """Run a command in the older version's checkout, with its own environment. Return what it printed."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ANSIBLE_"))
    }
    environment["PATH"] = f"{CHECKOUT / '.venv/bin'}:{environment['PATH']}"
    environment["ANSIBLE_CONFIG"] = str(CHECKOUT / "ansible.cfg")
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _render(worker: Machine) -> None:
    request = urllib.request.Request(
        f"http://{worker.address}:8188/prompt", data=json.dumps({"prompt": PROMPT}).encode()
    )
    urllib.request.urlopen(request, timeout=60).close()  # noqa: S310
    wait_for(
        "the image",
        lambda: worker.sudo(f"ls {STATE}/output/of-before*.png").returncode == 0,
        timeout_s=120,
    )
