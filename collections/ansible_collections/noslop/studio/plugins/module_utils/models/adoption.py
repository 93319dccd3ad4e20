# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide where the models of another program's directory belong on the share, and which are there already. Pure."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.models import model_paths

#: Names of directories of other programs, in small letters, to the folders of ComfyUI's models.
FOLDERS: dict[str, str] = {
    **{name: name for name in studio.MODEL_FOLDERS if name not in ("classifiers", "configs", "diffusers")},
    # ComfyUI's former names (folder_paths.py)
    "clip": "text_encoders",
    "t2i_adapter": "controlnet",
    "unet": "diffusion_models",
    # AUTOMATIC1111's and Forge's (modules/paths_internal.py, extensions-builtin)
    "stable-diffusion": "checkpoints",
    "lora": "loras",
    "lycoris": "loras",
    "esrgan": "upscale_models",
    "realesrgan": "upscale_models",
    "swinir": "upscale_models",
    "dat": "upscale_models",
    "text_encoder": "text_encoders",
    "vae-approx": "vae_approx",
    # InvokeAI's: models/<base>/<type>/<name>
    "main": "checkpoints",
    "embedding": "embeddings",
    "t5_encoder": "text_encoders",
    "spandrel_image_to_image": "upscale_models",
}
#: Types whose files are pickles, which can run code when a program loads them.
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
#: Types of models. Pictures, settings and texts beside them are not copied.
ENDINGS = (".gguf", ".onnx", ".safetensors", ".sft", *PICKLES)
_NO_FOLDER = "it is not clear where ComfyUI looks for it: name the folder with --folder (studio_models_adopt_folder)"
_PICKLE = "a pickle, which can run code when it is loaded"


@dataclass(frozen=True)
class Offer:
    """A file of another program. ``path`` is below its directory; ``version`` names its state, ``size`` is in bytes."""

    path: str
    size: int
    sha256: str
    version: str


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue: its path below the share, and its SHA-256 where the catalogue has one."""

    path: str
    sha256: str = ""


@dataclass(frozen=True)
class Decision:
    """The decision about an offered file.

    ``state`` is new (it can be copied to ``target``), present (``target`` has its content already) or left.
    ``listed`` is true where the catalogue has the target. ``message`` is for the user.
    """

    offer: Offer
    state: str
    target: str = ""
    message: str = ""
    listed: bool = False


def make_version(inode: int, changed_ns: int) -> str:
    """Return what names the state of a file: it changes with each change of its content."""
    return f"{inode:x}-{changed_ns:x}"


def find_folder(path: str, top: str) -> str:
    """Return the folder of ComfyUI's models that a file belongs to, with the folders below it; empty if unclear.

    Args:
        path: the path of the file below the directory.
        top: the path of the directory, whose name counts where the path says nothing.
    """
    parts = path.split("/")[:-1]
    for number, part in enumerate(parts):
        if folder := FOLDERS.get(part.lower()):
            return "/".join((folder, *parts[number + 1 :]))
    folder = FOLDERS.get(posixpath.basename(top.rstrip("/")).lower(), "")
    return "/".join((folder, *parts)) if folder else ""


def decide(
    offers: Iterable[Offer],
    top: str,
    *,
    present: Mapping[str, str],
    names: Iterable[str],
    catalogue: Sequence[Entry] = (),
    folder: str = "",
) -> list[Decision]:
    """Decide for each file. No two get one target, and none gets a name that another file has.

    Args:
        offers: the files.
        top: the path of their directory.
        present: paths on the share by SHA-256.
        names: all paths on the share.
        catalogue: the models that the studio's list names.
        folder: where all go; empty to find it for each.
    """
    by_digest = dict(present)
    used = {name.lower() for name in (*names, *(entry.path for entry in catalogue))}
    wanted = {entry.sha256: entry.path for entry in catalogue if entry.sha256}
    listed = {entry.path for entry in catalogue}
    decisions = []
    for offer in offers:
        if there := by_digest.get(offer.sha256):
            is_here = offer.sha256 not in present
            note = "another file of this host has this content" if is_here else "the share has this content"
            decisions.append(Decision(offer, "present", there, note, there in listed))
            continue
        if entry := wanted.get(offer.sha256):
            decisions.append(Decision(offer, "new", entry, _note(offer, "the catalogue names it"), listed=True))
            by_digest[offer.sha256] = entry
            continue
        below = folder.strip("/") or find_folder(offer.path, top)
        name = posixpath.basename(offer.path)
        target = f"{below}/{name}"
        note = ""
        if below and target.lower() in used:
            stem, ending = os.path.splitext(name)
            target = f"{below}/{stem}-{offer.sha256[:8]}{ending}"
            note = "another file has its name"
        if not below or not model_paths.is_model_path(target) or target.lower() in used:
            decisions.append(
                Decision(offer, "left", message=_NO_FOLDER if not below else f"{target!r} cannot be its name")
            )
            continue
        used.add(target.lower())
        by_digest[offer.sha256] = target
        decisions.append(Decision(offer, "new", target, _note(offer, note)))
    return decisions


def _note(offer: Offer, note: str) -> str:
    pickle = _PICKLE if offer.path.lower().endswith(PICKLES) else ""
    return "; ".join(filter(None, (note, pickle)))
