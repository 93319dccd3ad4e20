# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for ComfyUI on loopback: list the files of a directory of models, and describe classes that load them."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

FOLDERS = ("checkpoints", "controlnet", "diffusion_models", "loras", "text_encoders", "upscale_models", "vae")
#: The inputs of ComfyUI's own loaders, with the folder of each.
LOADERS: dict[str, dict[str, str]] = {
    "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"},
    "CLIPLoader": {"clip_name": "text_encoders"},
    "ControlNetLoader": {"control_net_name": "controlnet"},
    "DualCLIPLoader": {"clip_name1": "text_encoders", "clip_name2": "text_encoders"},
    "LoraLoader": {"lora_name": "loras"},
    "UNETLoader": {"unet_name": "diffusion_models"},
    "UpscaleModelLoader": {"model_name": "upscale_models"},
    "VAELoader": {"vae_name": "vae"},
}
OTHERS = ("CLIPTextEncode", "KSampler", "PreviewImage", "SaveImage")


class ComfyUI(http.server.ThreadingHTTPServer):
    """The stand-in.

    `requests` are the paths that were asked for, `answers` replace its own by path. `late` are files by folder that
    arrive after the first list of the folder, as those that another host wrote.
    """

    daemon_threads = True

    def __init__(self, models: Path, loaders: Mapping[str, Mapping[str, str]], others: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models, self.loaders, self.others = models, loaders, others
        self.version = "0.33.0"
        self.requests: list[str] = []
        self.answers: dict[str, tuple[int, Any]] = {}
        self.late: dict[str, str] = {}

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def list_files(self, folder: str) -> list[str]:
        root = self.models / folder
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def describe(self) -> dict[str, Any]:
        """Return the answer to /object_info, with the choices of an input in either of ComfyUI's two forms."""
        info: dict[str, Any] = {name: {"input": {"required": {"text": ["STRING", {}]}}} for name in self.others}
        for number, (name, inputs) in enumerate(self.loaders.items()):
            fields: dict[str, Any] = {"strength": ["FLOAT", {"default": 1.0}], "device": [["default", "cpu"], {}]}
            for field, folder in inputs.items():
                files = self.list_files(folder)
                fields[field] = ["COMBO", {"options": files}] if number % 2 else [files, {"tooltip": "A file"}]
            info[name] = {"input": {"required": fields, "hidden": {"prompt": "PROMPT"}}}
        return info

    def answer(self, path: str) -> tuple[int, Any]:
        self.requests.append(path)
        if path in self.answers:
            return self.answers[path]
        folder = path.removeprefix("/models/")
        if folder in FOLDERS:
            files = self.list_files(folder)
            if name := self.late.pop(folder, ""):
                (self.models / folder / name).touch()
            return 200, files
        if path == "/object_info":
            return 200, self.describe()
        system = {"system": {"comfyui_version": self.version}}
        return {"/system_stats": (200, system), "/models": (200, list(FOLDERS))}.get(path, (404, {}))


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, value = cast(ComfyUI, self.server).answer(urllib.parse.unquote(self.path))
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving_comfyui(
    models: Path, loaders: Mapping[str, Mapping[str, str]] = LOADERS, others: Sequence[str] = OTHERS
) -> Iterator[ComfyUI]:
    """Run a stand-in on a free port of loopback."""
    with ComfyUI(models, loaders, others) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
