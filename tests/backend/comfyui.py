# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's stand-in for ComfyUI as a process on loopback, with a node that makes whatever files a test wants."""

from __future__ import annotations

import base64
import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noslop_backend.schemas import FilePublic, IngestReport
from noslop_backend.services import ProjectStorage

from tests.support.daemons import STANDINS, Daemon

Graph = dict[str, Any]

#: What the stand-in imports and this environment has not: it looks no closer at them.
_PACKAGES = ("torch", "requests", "noslop_standin_requirement")
#: Writes files and says what it is told to; before that it waits for somebody to open a FIFO, if there is one.
_NODE = """
import base64, json, os
import folder_paths

class Made:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "go", True
    INPUT_TYPES = classmethod(lambda cls: {"required": {"made": ("STRING", {})}})

    def go(self, made):
        said = json.loads(made)
        if said["gate"]:
            open(said["gate"], "rb").close()
        for path, content in said["files"].items():
            where = os.path.join(folder_paths.output_directory, path)
            os.makedirs(os.path.dirname(where), exist_ok=True)
            with open(where, "wb") as stream:
                stream.write(base64.b64decode(content))
        if said["fails"]:
            raise RuntimeError(said["fails"])
        return {"ui": said["ui"]}

NODE_CLASS_MAPPINGS = {"Made": Made}
"""
IMAGE: Graph = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0xFF8000}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "made"}},
}

WORKFLOW = {"id": "7f3a1c9e-0d5b-4a55-9a51-2f6f8f0f7d10", "nodes": [{"id": 1, "type": "EmptyImage"}], "links": []}


@dataclass
class StandIn:
    """The stand-in, and where it keeps its files."""

    daemon: Daemon
    base: Path

    @property
    def hosts(self) -> str:
        """The setting that makes it the host `alpha` of a studio."""
        return f"alpha=127.0.0.1:{self.daemon.port}"

    def send(self, graph: Graph, workflow: object = None, prompt_id: str | None = None) -> str:
        """Send a prompt; gives its id."""
        extra = {} if workflow is None else {"extra_pnginfo": {"workflow": workflow}}
        body = {"prompt": graph, "extra_data": extra, "prompt_id": prompt_id or str(uuid.uuid4())}
        answer = self.daemon.request("POST", "/prompt", body)
        assert answer.status == 200, answer.body
        return str(answer.json["prompt_id"])

    def run(self, graph: Graph, workflow: object = None, prompt_id: str | None = None) -> str:
        """Send a prompt and wait for its end; gives its id."""
        sent = self.send(graph, workflow, prompt_id)
        # An id that was used before is in the history already, with what ran then.
        while self.daemon.get(f"/history/{sent}").json.get(sent, {}).get("prompt", [1, sent, None])[2] != graph:
            pass
        return sent

    def view(self, filename: str, subfolder: str = "") -> bytes:
        """The file as ComfyUI gives it."""
        return (self.base / "output" / subfolder / filename).read_bytes()


def making(
    ui: dict[str, Any], files: dict[str, bytes] | None = None, gate: Path | None = None, fails: str = ""
) -> Graph:
    """A graph whose one node makes these files in the output directory, and shows this."""
    coded = {path: base64.b64encode(content).decode() for path, content in (files or {}).items()}
    said = {"ui": ui, "files": coded, "gate": str(gate) if gate else "", "fails": fails}
    return {"9": {"class_type": "Made", "inputs": {"made": json.dumps(said)}}}


def shown(*names: str, key: str = "images", subfolder: str = "", kind: str = "output") -> dict[str, Any]:
    """What a node shows of files that it made."""
    return {key: [{"filename": name, "subfolder": subfolder, "type": kind} for name in names]}


@contextmanager
def standin(base: Path) -> Iterator[StandIn]:
    """Run it until the end of the block."""
    packages = base / "packages"
    packages.mkdir(parents=True)
    for name in _PACKAGES:
        (packages / f"{name}.py").write_text('__version__ = "0"\n')
    for name in ("models", "custom_nodes", "output"):
        (base / name).mkdir()
    (base / "custom_nodes" / "made.py").write_text(_NODE)
    env = {**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "main.py", "--cpu", "--port", "0", "--base-directory", str(base)]
    command += ["--database-url", f"sqlite:///{base}/comfyui.db"]
    with Daemon(command, r"To see the GUI go to: http://127\.0\.0\.1:(\d+)", env, STANDINS / "comfyui") as daemon:
        yield StandIn(daemon, base)


def names(report: IngestReport) -> list[str]:
    """What the files are called."""
    return [file.name for file in report.files]


def content(storage: ProjectStorage, file: FilePublic) -> bytes:
    """What is in a file."""
    with storage.open_file(file.project_id, file.id) as opened:
        return opened.stream.read()
