# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the real ComfyUI, with real custom nodes, on two machines that share one tree of models over NFS.

Run by `make test-real-studio COMFYUI_REPO=...` on the bare machines of the lab; see test_comfyui.py for the variables.
The lab's disks have 12 GB, which PyTorch for CPUs fits into. One more variable:

    COMFYUI_NODES    three repositories of custom nodes, which are separated by spaces: rgthree-comfy,
                     ComfyUI-KJNodes (with requirements of its own) and ComfyUI-Custom-Scripts, or paths of copies
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import REVISION, list_indexes, serving
from tests.real.git_copy import git
from tests.real.plain_studio import VARIABLES, WORKERS, PlainStudio, write_inventory
from tests.support.lab.comfyui_host import PROMPT, request
from tests.support.lab.machines import CONTROLLER, LAB, MIRROR_PORT, Machine, list_machines, wait_for

pytestmark = pytest.mark.real

MIRROR = f"http://{CONTROLLER}:{MIRROR_PORT}"
FORGE = "https://github.com"
NODES = f"{FORGE}/rgthree/rgthree-comfy {FORGE}/kijai/ComfyUI-KJNodes {FORGE}/pythongosssss/ComfyUI-Custom-Scripts"
SHARE = "/mnt/noslop/comfyui"
CHECK = "services.comfyui_nodes"


@dataclass(frozen=True)
class Studio(PlainStudio):
    """Two machines with ComfyUI, and a third one with their storage and the backend. `nodes` are for its list."""

    nodes: list[dict[str, Any]]

    def list_classes(self, worker: str) -> set[str]:
        """Return the names of the nodes that ComfyUI offers on a worker."""
        return set(json.loads(request(self.machines[worker], "/object_info")))

    def play_nodes(self, nodes: list[dict[str, Any]]) -> tuple[int, str]:
        """Change the list of custom nodes. Return the exit code and what was printed."""
        return self.play("services", "--tags", "nodes,comfyui", noslop_custom_nodes=nodes)


@pytest.fixture(scope="module")
def studio(repository: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Deploy the studio by the playbooks, without custom nodes."""
    with serving(tmp_path_factory.mktemp("served"), CONTROLLER) as copy:
        source = copy(repository, REVISION, "ComfyUI")
        nodes = []
        for address in os.environ.get("COMFYUI_NODES", NODES).split():
            name = Path(address).name.removesuffix(".git")
            revision = git("ls-remote", address, "HEAD").split()[0]
            node = copy(address, revision, name)
            nodes.append({"name": name, "repo": node.repo, "commit": node.revision})
        inventory = tmp_path_factory.mktemp("studio")
        write_inventory(inventory, {"backend": ["server"], "comfyui": WORKERS})
        variables = {
            **VARIABLES,
            "comfyui_revision": source.revision,
            "comfyui_writable_nodes": ["ComfyUI-Custom-Scripts"],
            **source.variables,
            **list_indexes(),
        }
        studio = Studio(list_machines(), inventory, variables, nodes)
        code, output = studio.play("site")
        assert code == 0, output
        yield studio


@pytest.fixture(scope="module")
def project(studio: Studio) -> tuple[str, str]:
    """Create a token and a project. Return the token and the project's id."""
    server = studio.machines["server"]
    token = json.loads(server.check_output("noslop-backend token create real --scope write --json", root=True))
    text = str(token["token"]["text"])
    return text, str(post(server, text, "/projects", {"name": "Real"})["id"])


def post(server: Machine, token: str, path: str, body: object) -> dict[str, Any]:
    """Send a request to the backend. Return the answer."""
    command = ["curl", "-sS", "--fail-with-body", f"http://{server.address}:8765/api/v1{path}"]
    headers = ["-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json"]
    done = subprocess.run([*command, *headers, "-d", json.dumps(body)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("worker", WORKERS)
def test_render_is_a_job_and_is_filed_by_the_backend(studio: Studio, project: tuple[str, str], worker: str) -> None:
    host, prompt_id = studio.machines[worker], str(uuid.uuid4())
    sent = json.loads(request(host, "/prompt", {"prompt": PROMPT, "prompt_id": prompt_id}))
    assert sent["prompt_id"] == prompt_id

    def read_status() -> str:
        jobs = json.loads(request(host, "/api/jobs?limit=50"))["jobs"]
        status = next((str(job["status"]) for job in jobs if job["id"] == prompt_id), "")
        return "" if status in ("pending", "in_progress") else status

    assert wait_for("the job", read_status, timeout_s=300) == "completed"
    token, project_id = project
    wanted = {"host": worker, "prompt_id": prompt_id}
    report = post(studio.machines["server"], token, f"/projects/{project_id}/ingest", wanted)
    assert [file["kind"] for file in report["files"]] == ["image"]


def test_file_of_one_machine_is_offered_by_the_other(studio: Studio) -> None:
    one, other = (studio.machines[name] for name in WORKERS)
    put = "install -o noslop-models -g noslop-models -m 0664 /dev/null"
    one.check_output(f"{put} {SHARE}/models/loras/of-{one.name}.safetensors", root=True)
    wait_for(
        "the other machine lists the file",
        lambda: f"of-{one.name}.safetensors" in json.loads(request(other, "/models/loras")),
        timeout_s=120,
    )


def test_real_nodes_run_on_both_machines_from_one_lock(studio: Studio) -> None:
    before = {worker: studio.list_classes(worker) for worker in WORKERS}
    code, output = studio.play_nodes(studio.nodes)
    assert code == 0, output
    added = [studio.list_classes(worker) - before[worker] for worker in WORKERS]
    assert added[0] == added[1]
    assert any("rgthree" in name for name in added[0])
    assert "ImageConcanate" in added[0]
    # It writes into the program's own directory at its import.
    assert "leaves out ComfyUI-Custom-Scripts, which writes to /opt/noslop/comfyui/" in output
    assert len(list(studio.inventory.glob("comfyui-*.lock.txt"))) == 1
    code, output = studio.play_nodes(studio.nodes)
    assert code == 0, output
    assert "changed=0" in output.rpartition("PLAY RECAP")[2]


def test_contradicting_node_changes_nothing(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    git("init", "--quiet", tmp_path / "old")
    (tmp_path / "old" / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    (tmp_path / "old" / "requirements.txt").write_text("pillow==9.5.0\n")
    git("-C", tmp_path / "old", "add", ".")
    git("-C", tmp_path / "old", "commit", "--quiet", "-m", "Want an old package")
    commit = git("-C", tmp_path / "old", "rev-parse", "HEAD")
    server = studio.machines["server"]
    with subprocess.Popen(["tar", "-C", str(tmp_path), "-c", "old"], stdout=subprocess.PIPE) as packed:
        subprocess.run([*server.ssh(), "rm -rf old && tar -x"], stdin=packed.stdout, check=True)
    server.check_output("rm -rf /srv/old && cp -r ~artist/old /srv/old && chown -R root: /srv/old", root=True)
    before = {worker: studio.list_classes(worker) for worker in WORKERS}
    contradicting = {"name": "old", "repo": "/srv/old", "commit": commit}
    code, output = studio.play_nodes([*studio.nodes, contradicting])
    assert code != 0
    for word in ("pillow", "old", "ComfyUI-KJNodes"):
        assert word in output
    assert {worker: studio.list_classes(worker) for worker in WORKERS} == before


def test_failing_nodes_are_named_and_left_out(studio: Studio) -> None:
    manifest = json.loads((LAB / "artifacts" / "manifest.json").read_text(encoding="utf-8"))
    failing = [
        {"name": name, "repo": f"{MIRROR}/nodes/{name}.git", "commit": manifest["nodes"][name][1]}
        for name in ("raises", "hangs", "writes-outside")
    ]
    before = {worker: studio.list_classes(worker) for worker in WORKERS}
    code, output = studio.play_nodes([*studio.nodes, *failing])
    assert code == 0, output
    assert {worker: studio.list_classes(worker) for worker in WORKERS} == before
    code, output = studio.play("verify", noslop_custom_nodes=[*studio.nodes, *failing])
    assert code != 0
    for words in (
        "raises raises at its import: ",
        "hangs does not finish its import",
        "writes-outside writes to /etc/",
    ):
        assert words in output
    for worker in WORKERS:
        assert studio.machines[worker].run("test -e /etc/noslop-node").returncode != 0


def test_rollback_removes_the_nodes_and_keeps_comfyui(studio: Studio) -> None:
    code, output = studio.play_nodes(studio.nodes[:1])
    assert code == 0, output
    for worker in WORKERS:
        classes = studio.list_classes(worker)
        assert any("rgthree" in name for name in classes)
        assert "ImageConcanate" not in classes
    code, output = studio.play("verify", noslop_custom_nodes=studio.nodes[:1])
    assert code == 0, output
