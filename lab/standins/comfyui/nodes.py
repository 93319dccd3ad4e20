# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the nodes of a workflow, and import the custom nodes from custom_nodes at start."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import mmap
import os
import sys
import time
import traceback
from typing import Any

import folder_paths
from comfy.cli_args import args
from comfy.images import Image

MAX_RESOLUTION = 16384


class EmptyImage:
    """A node that creates images in one colour."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        side = {"default": 512, "min": 1, "max": MAX_RESOLUTION, "step": 1}
        return {
            "required": {
                "width": ("INT", side),
                "height": ("INT", side),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
                "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[list[Image]]:
        """Create the batch of images."""
        return ([Image(width, height, color)] * batch_size,)


class SaveImage:
    """Saves the input images to your output directory."""

    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    CATEGORY = "image"
    KIND = "output"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        return {
            "required": {"images": ("IMAGE", {}), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self,
        images: list[Image],
        filename_prefix: str = "ComfyUI",
        prompt: dict[str, Any] | None = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write a PNG for each image, with the prompt and the workflow in it."""
        root = folder_paths.get_directory_by_type(self.KIND)
        assert root is not None
        where, start, number, subfolder = folder_paths.next_output(filename_prefix, root)
        about = {} if args.disable_metadata else {"prompt": prompt, **(extra_pnginfo or {})}
        text = {key: json.dumps(value) for key, value in about.items() if value is not None}
        saved = []
        for image in images:
            name = f"{start}_{number:05}_.png"
            with open(os.path.join(where, name), "wb") as stream:
                stream.write(image.png(text))
            saved.append({"filename": name, "subfolder": subfolder, "type": self.KIND})
            number += 1
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    """Saves the input images to the temporary directory, which is emptied at every start."""

    KIND = "temp"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        described = super().INPUT_TYPES()
        return {**described, "required": {"images": ("IMAGE", {})}}


class EmptyLatentImage:
    """A node that creates a latent of zeros, of which only the size is kept."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"
    CATEGORY = "latent"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        side = {"default": 512, "min": 16, "max": MAX_RESOLUTION, "step": 8}
        batch = {"default": 1, "min": 1, "max": 4096}
        return {"required": {"width": ("INT", side), "height": ("INT", side), "batch_size": ("INT", batch)}}

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[tuple[int, ...]]:
        """Return the shape of the latent."""
        return ((batch_size, 4, height // 8, width // 8),)


class SaveLatent:
    """Saves a latent as a safetensors file whose name ends in .latent."""

    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True
    CATEGORY = "_for_testing"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        prefix = ("STRING", {"default": "latents/ComfyUI"})
        return {"required": {"samples": ("LATENT", {}), "filename_prefix": prefix}, "hidden": {"prompt": "PROMPT"}}

    def save(
        self,
        samples: tuple[int, ...],
        filename_prefix: str = "latents/ComfyUI",
        prompt: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write header and zeros (https://huggingface.co/docs/safetensors)."""
        where, start, number, subfolder = folder_paths.next_output(filename_prefix, folder_paths.output_directory)
        size = 4 * math.prod(samples)
        tensor = {"dtype": "F32", "shape": list(samples), "data_offsets": [0, size]}
        header = json.dumps({"__metadata__": {"prompt": json.dumps(prompt)}, "latent_tensor": tensor}).encode()
        name = f"{start}_{number:05}_.latent"
        with open(os.path.join(where, name), "wb") as stream:
            stream.write(len(header).to_bytes(8, "little") + header + bytes(size))
        return {"ui": {"latents": [{"filename": name, "subfolder": subfolder, "type": "output"}]}}


class CheckpointLoaderSimple:
    """A node that reads a checkpoint through a memory map, as the original does, and loads no model."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load_checkpoint"
    CATEGORY = "loaders"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs: a choice of the files in checkpoints."""
        return {"required": {"ckpt_name": (folder_paths.get_filename_list("checkpoints"), {})}}

    def load_checkpoint(self, ckpt_name: str) -> tuple[int, int, int]:
        """Read every page of the file."""
        path = folder_paths.get_full_path("checkpoints", ckpt_name)
        if path is None:
            raise FileNotFoundError(f"Model in folder 'checkpoints' with filename '{ckpt_name}' not found.")
        size = os.path.getsize(path)
        if size and not args.disable_mmap:
            with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
                size = len(view[:])
        return size, size, size


NODE_CLASS_MAPPINGS: dict[str, Any] = {
    "EmptyImage": EmptyImage,
    "SaveImage": SaveImage,
    "PreviewImage": PreviewImage,
    "EmptyLatentImage": EmptyLatentImage,
    "SaveLatent": SaveLatent,
    "CheckpointLoaderSimple": CheckpointLoaderSimple,
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {"SaveImage": "Save Image", "CheckpointLoaderSimple": "Load Checkpoint"}


def node_info(name: str) -> dict[str, Any]:
    """Describe a node as /object_info does."""
    node = NODE_CLASS_MAPPINGS[name]
    inputs = node.INPUT_TYPES()
    outputs = list(node.RETURN_TYPES)
    return {
        "input": inputs,
        "input_order": {kind: list(fields) for kind, fields in inputs.items()},
        "output": outputs,
        "output_is_list": [False] * len(outputs),
        "output_name": list(getattr(node, "RETURN_NAMES", outputs)),
        "name": name,
        "display_name": NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "description": (node.__doc__ or "").split("\n")[0],
        "python_module": getattr(node, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": getattr(node, "CATEGORY", "sd"),
        "output_node": bool(getattr(node, "OUTPUT_NODE", False)),
    }


def load_custom_node(path: str) -> bool:
    """Import one custom node. A failure is logged and not raised."""
    name = os.path.splitext(os.path.basename(path))[0]
    source = path if os.path.isfile(path) else os.path.join(path, "__init__.py")
    try:
        spec = importlib.util.spec_from_file_location(path.replace(".", "_x_"), source)
        if spec is None or spec.loader is None:
            raise ImportError(f"{source} is no Python module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    except Exception as error:
        logging.warning(traceback.format_exc())
        logging.warning("Cannot import %s module for custom nodes: %s", path, error)
        return False
    for class_name, node in (getattr(module, "NODE_CLASS_MAPPINGS", None) or {}).items():
        node.RELATIVE_PYTHON_MODULE = f"custom_nodes.{name}"
        NODE_CLASS_MAPPINGS.setdefault(class_name, node)
    NODE_DISPLAY_NAME_MAPPINGS.update(getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {})
    return True


def load_custom_nodes() -> None:
    """Import every custom node, then log the times. Raises FileNotFoundError where a directory of them is missing."""
    times: list[tuple[float, str, bool]] = []
    for directory in folder_paths.get_folder_paths("custom_nodes"):
        for entry in sorted(os.listdir(os.path.realpath(directory))):
            path = os.path.join(directory, entry)
            is_code = os.path.isdir(path) or entry.endswith(".py")
            if entry == "__pycache__" or not is_code or entry.endswith(".disabled"):
                continue
            if args.disable_all_custom_nodes and entry not in args.whitelist_custom_nodes:
                logging.info("Skipping %s due to disable_all_custom_nodes and whitelist_custom_nodes", entry)
                continue
            started = time.perf_counter()
            imported = load_custom_node(path)
            times.append((time.perf_counter() - started, path, imported))
    if times:
        logging.info("\nImport times for custom nodes:")
        for seconds, path, imported in sorted(times):
            logging.info("%6.1f seconds%s: %s", seconds, "" if imported else " (IMPORT FAILED)", path)
        logging.info("")
