# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return directories and the lists of model files, which are cached until the mtime of a directory changes.

A list is read again only when the mtime of one of its directories changed. An added, removed or renamed file is
therefore listed at once, or later on a host that caches the attributes of the directory (NFS).
"""

from __future__ import annotations

import logging
import os
import threading

from comfy.cli_args import args

MODEL_EXTENSIONS = {".bin", ".ckpt", ".pkl", ".pt", ".pt2", ".pth", ".safetensors", ".sft"}
LEGACY_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}
NO_EXTENSIONS: set[str] = set()

base_path = os.path.abspath(args.base_directory or os.path.dirname(os.path.realpath(__file__)))
models_dir = os.path.abspath(args.models_directory or os.path.join(base_path, "models"))


def _chosen(name: str) -> str:
    return os.path.abspath(getattr(args, f"{name}_directory") or os.path.join(base_path, name))


output_directory, input_directory, user_directory = (_chosen(name) for name in ("output", "input", "user"))
temp_directory = os.path.join(os.path.abspath(args.temp_directory or base_path), "temp")


def _models(*names: str) -> list[str]:
    return [os.path.join(models_dir, name) for name in names]


# For each folder of the interface: the directories in search order, and the file name extensions.
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {
    "checkpoints": (_models("checkpoints"), MODEL_EXTENSIONS),
    "configs": (_models("configs"), {".yaml"}),
    "text_encoders": (_models("text_encoders", "clip"), MODEL_EXTENSIONS),
    "diffusion_models": (_models("unet", "diffusion_models"), MODEL_EXTENSIONS),
    "controlnet": (_models("controlnet", "t2i_adapter"), MODEL_EXTENSIONS),
    "diffusers": (_models("diffusers"), {"folder"}),
    "classifiers": (_models("classifiers"), {""}),
    "custom_nodes": ([os.path.join(base_path, "custom_nodes")], NO_EXTENSIONS),
}
OTHER_FOLDERS = (
    "loras vae clip_vision style_models embeddings vae_approx gligen upscale_models latent_upscale_models "
    "hypernetworks photomaker model_patches audio_encoders background_removal frame_interpolation "
    "geometry_estimation optical_flow detection"
)
for _name in OTHER_FOLDERS.split():
    folder_names_and_paths[_name] = (_models(_name), MODEL_EXTENSIONS)

Listing = tuple[list[str], dict[str, float]]
_listings: dict[str, Listing] = {}
_guard = threading.Lock()


def add_model_folder_path(name: str, path: str) -> None:
    """Add a directory to the search path of a folder."""
    name = LEGACY_NAMES.get(name, name)
    paths = folder_names_and_paths.setdefault(name, ([], NO_EXTENSIONS))[0]
    if path not in paths:
        paths.append(path)


def get_folder_paths(name: str) -> list[str]:
    """Return the directories of a folder."""
    return list(folder_names_and_paths[LEGACY_NAMES.get(name, name)][0])


def _scan(root: str) -> Listing:
    """Return every file below a directory, relative to it, and the mtime of every directory that was read."""
    files: list[str] = []
    times: dict[str, float] = {}
    if not os.path.isdir(root):
        return files, times
    times[root] = os.path.getmtime(root)
    for where, directories, names in os.walk(root, followlinks=True):
        directories[:] = [name for name in directories if name != ".git"]
        files += [os.path.relpath(os.path.join(where, name), root) for name in names]
        for name in directories:
            path = os.path.join(where, name)
            try:
                times[path] = os.path.getmtime(path)
            except FileNotFoundError:
                logging.warning("Warning: Unable to access %s. Skipping this path.", path)
    return files, times


def _still_true(name: str, listing: Listing) -> bool:
    """Return whether no directory changed. Raises FileNotFoundError when one is missing, as the original does."""
    if any(os.path.getmtime(path) != mtime for path, mtime in listing[1].items()):
        return False
    return all(path in listing[1] for path in folder_names_and_paths[name][0] if os.path.isdir(path))


def get_filename_list(name: str) -> list[str]:
    """Return the names of a folder's files, from the cache unless a directory's mtime changed."""
    name = LEGACY_NAMES.get(name, name)
    with _guard:
        listing = _listings.get(name)
        if listing is None or not _still_true(name, listing):
            paths, extensions = folder_names_and_paths[name]
            names: set[str] = set()
            times: dict[str, float] = {}
            for path in paths:
                files, mtimes = _scan(path)
                names.update(f for f in files if not extensions or os.path.splitext(f)[1].lower() in extensions)
                times.update(mtimes)
            listing = _listings[name] = (sorted(names), times)
        return list(listing[0])


def get_full_path(name: str, filename: str) -> str | None:
    """Return the path of a file in a folder, or None; a name never leads out of its folder."""
    inside = os.path.relpath(os.path.join("/", filename), "/")
    for directory in get_folder_paths(name):
        path = os.path.join(directory, inside)
        if os.path.isfile(path):
            return path
    return None


def get_directory_by_type(kind: str) -> str | None:
    """Return a directory whose files the HTTP interface may serve."""
    return {"output": output_directory, "temp": temp_directory, "input": input_directory}.get(kind)


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """Split a name with a directory ("x.png [input]") into the name and the directory, None without one."""
    for kind in ("output", "input", "temp"):
        if name.endswith(f"[{kind}]"):
            # As in the original, including the space before the bracket.
            return name[: -len(kind) - 3], get_directory_by_type(kind)
    return name, None


def next_output(prefix: str, directory: str) -> tuple[str, str, int, str]:
    """Return the path of the next image: (directory, start of the file name, number, subfolder).

    The number is one more than the highest in the listing. Two hosts that share the directory can choose the same.
    Raises ValueError for a prefix that leads out of the directory.
    """
    subfolder, start = os.path.split(os.path.normpath(prefix))
    where = os.path.abspath(os.path.join(directory, subfolder))
    if os.path.commonpath([directory, where]) != directory:
        raise ValueError(f"Saving image outside the output folder is not allowed: {where} is not in {directory}")
    os.makedirs(where, exist_ok=True)
    highest = 0
    for name in os.listdir(where):
        if name.startswith(start + "_"):
            digits = name[len(start) + 1 :].split("_")[0]
            highest = max(highest, int(digits) if digits.isdigit() else 0)
    return where, start, highest + 1, subfolder
