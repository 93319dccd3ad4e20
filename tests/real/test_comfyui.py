# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the real ComfyUI on a CPU: it renders an image and lists what is put on the share.

The backend, on this computer, files what it rendered.

Run by `make test-real COMFYUI_REPO=...`, never by `make test`: it downloads gigabytes. Needs what the lab's containers
need (root on Debian, podman) and about 10 GB of disk.

    make test-real COMFYUI_REPO=https://github.com/Comfy-Org/ComfyUI.git    the vendor's
    make test-real COMFYUI_REPO=/path/to/ComfyUI                            a repository on this computer

A repository on this computer is only read. Its tree becomes the one commit of a scratch repository, which the container
clones over HTTP; files whose content it lacks (stores of snapshots leave out large ones) are left out and named.
More variables of the environment:

    COMFYUI_VERSION        another tag or commit than v0.33.0
    COMFYUI_OLD_VERSION    the one that is upgraded to it, v0.3.64
    COMFYUI_TORCH_INDEX    the index with torch, torchvision and torchaudio (https://download.pytorch.org/whl/cpu);
                           https://pypi.org/simple has them too, with several gigabytes of CUDA
    COMFYUI_PIP_INDEX      the index for requirements.txt (the container's own setting for pip, or PyPI)
"""

from __future__ import annotations

import json
import struct
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from noslop_backend.comfyui import ingest
from noslop_backend.schemas import ProjectCreate

from tests.backend.studio import make_sqlite, make_studio
from tests.support.lab.comfyui_host import request
from tests.support.lab.hostile_node import run_hostile_node
from tests.support.lab.machines import Machine, wait_for

pytestmark = pytest.mark.real

CHECKPOINTS = "/mnt/noslop/comfyui/models/checkpoints"
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 640, "height": 360, "batch_size": 1, "color": 0x3366CC}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "real"}},
}


def test_installed_comfyui_is_the_real_one(installation: Machine) -> None:
    stats = json.loads(request(installation, "/system_stats"))
    assert stats["system"]["required_frontend_version"]
    assert stats["devices"][0]["type"] == "cpu"
    assert "NoSlop" not in request(installation, "/").decode(errors="replace")


def render(host: Machine, prompt: dict[str, Any], **extra_data: object) -> tuple[str, Any]:
    """Run a prompt in ComfyUI. Return its id, and its entry in the history after it has ended."""
    prompt_id = json.loads(request(host, "/prompt", {"prompt": prompt, "extra_data": extra_data}))["prompt_id"]

    def read_history() -> Any:  # noqa: ANN401 (what JSON holds)
        return json.loads(request(host, f"/history/{prompt_id}")).get(prompt_id)

    done = wait_for(f"the end of prompt {prompt_id}", read_history, timeout_s=120)
    assert done["status"]["status_str"] == "success", done["status"]
    return prompt_id, done


def test_comfyui_renders_an_image(installation: Machine) -> None:
    _, done = render(installation, PROMPT)
    image = done["outputs"]["2"]["images"][0]
    png = request(installation, f"/view?filename={image['filename']}&subfolder={image['subfolder']}&type=output")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (640, 360)
    assert b"tEXtprompt" in png


def test_backend_files_the_outputs_under_a_project(installation: Machine, tmp_path: Path) -> None:
    """File what the container's ComfyUI made with a backend on this computer: image, video, latent."""
    prompt = {
        **PROMPT,
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], "filename_prefix": "filed/latent"}},
        "6": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8.0}},
        "7": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["6", 0], "filename_prefix": "filed/video", "format": "auto", "codec": "auto"},
        },
    }
    # Not the output that the other tests look for.
    prompt["2"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "filed/image"}}
    workflow = {"id": str(uuid.uuid4()), "nodes": [], "links": []}
    prompt_id, _ = render(installation, prompt, extra_pnginfo={"workflow": workflow})
    studio = make_studio(tmp_path, f"sqlite:///{make_sqlite(tmp_path / 'backend.sqlite3')}")
    storage = studio.another(comfyui_hosts=f"render={installation.address}:8188")
    project = storage.create_project_structure(ProjectCreate(name="Real")).id
    report = ingest(storage, project, "render", prompt_id)
    assert report.status == "success"
    assert [one.type for one in report.left_out] == ["temp"]
    assert {str(file.kind) for file in report.files} == {"image", "video", "latent"}
    for file in report.files:
        came_from = file.parameters["comfyui"]
        query = urlencode({name: came_from[name] for name in ("filename", "subfolder", "type")})
        with storage.open_file(project, file.id) as opened:
            assert opened.stream.read() == request(installation, f"/view?{query}"), file.name
        if file.kind != "latent":
            media = file.parameters["media"]
            assert (media["decoded"], media["width"], media["height"]) == (True, 640, 360), media
    assert report.workflow is not None
    assert storage.load_workflow(project, document_id=report.workflow.document_id).data == workflow
    assert report.prompt is not None
    assert storage.load_prompt(project, document_id=report.prompt.document_id).data == prompt
    assert ingest(storage, project, "render", prompt_id) == report
    studio.check(project)
    studio.close()


def test_file_put_on_the_share_is_listed(installation: Machine) -> None:
    def list_checkpoints() -> list[str]:
        names: list[str] = json.loads(request(installation, "/models/checkpoints"))
        return names

    assert "from-the-share.safetensors" not in list_checkpoints()
    put = f"install -o noslop-models -g noslop-models -m 0664 /dev/null {CHECKPOINTS}/from-the-share.safetensors"
    installation.check_output(put, root=True)
    wait_for("the new checkpoint", lambda: "from-the-share.safetensors" in list_checkpoints(), timeout_s=120)


def test_state_is_local_and_models_are_shared(installation: Machine) -> None:
    state = installation.check_output("cd /var/lib/noslop/comfyui && ls user/comfyui-*.db output/*.png", root=True)
    output, database = state.split()
    assert output == "output/real_00001_.png"
    assert database.startswith("user/comfyui-")
    links = installation.check_output("cd /opt/noslop/comfyui && readlink */models */custom_nodes", root=True)
    assert set(links.split()) == {"/mnt/noslop/comfyui/models", "/mnt/noslop/comfyui/custom_nodes"}


def test_hostile_custom_node_reaches_nothing(installation: Machine) -> None:
    result = run_hostile_node(installation, installation)
    assert {what for what, answer in result.attempts.items() if answer == "SUCCEEDED"} == set()
    assert set(result.own.values()) == {"SUCCEEDED"}
    assert len(result.attempts) > 80
