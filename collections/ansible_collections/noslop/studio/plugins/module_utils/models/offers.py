# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select from ComfyUI's own lists what a workflow asks for. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

#: The endings of models that ComfyUI lists by itself (folder_paths.py, supported_pt_extensions), and those that
#: common custom nodes add.
MODEL_ENDINGS = (
    *(".bin", ".ckpt", ".pkl", ".pt", ".pt2", ".pth", ".safetensors", ".sft"),
    *(".engine", ".gguf", ".onnx"),
)


def is_model_file(name: str) -> bool:
    """Return whether a text is the name of a model's file."""
    return name.lower().endswith(MODEL_ENDINGS)


def select_files(listings: Mapping[str, Sequence[str]], wanted: Collection[str]) -> dict[str, list[str]]:
    """Return the files of each folder that have the name of a wanted one, also in another directory of the folder.

    Args:
        listings: the files of each folder, as ``/models/{folder}`` has them.
        wanted: names of files, with their directory below the folder.
    """
    names = {os.path.basename(name) for name in wanted}
    selected = {
        folder: [name for name in listed if os.path.basename(name) in names] for folder, listed in listings.items()
    }
    return {folder: listed for folder, listed in selected.items() if listed}


def select_classes(
    info: Mapping[str, Any], listings: Mapping[str, Sequence[str]], classes: Collection[str]
) -> dict[str, dict[str, list[str]]]:
    """Return the wanted classes that there are: their inputs that choose a model's file, with the folders of each.

    ComfyUI does not say from which folder an input chooses. It is each folder that has all of the choices. An input
    without choices has no folders: nothing says whether its folder is empty.

    Args:
        info: the answer to ``/object_info``.
        listings: the files of each folder, as ``/models/{folder}`` has them.
        classes: names of node classes.
    """
    folders = {folder: frozenset(listed) for folder, listed in listings.items()}
    selected: dict[str, dict[str, list[str]]] = {}
    for name in classes:
        if name in info:
            selected[name] = {
                field: [folder for folder, listed in folders.items() if files and listed.issuperset(files)]
                for field, files in _list_file_inputs(info[name])
            }
    return selected


def _list_file_inputs(described: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the inputs of a node that choose a model's file, or have no choices, each with the files."""
    inputs = described.get("input") if isinstance(described, Mapping) else None
    for kind in ("required", "optional"):
        fields = inputs.get(kind) if isinstance(inputs, Mapping) else None
        for field, spec in fields.items() if isinstance(fields, Mapping) else ():
            choices = _list_choices(spec)
            if choices is not None:
                # A list may have more than files: "None", or the small VAEs that have no file of their own.
                files = [choice for choice in choices if isinstance(choice, str) and is_model_file(choice)]
                if files or not choices:
                    yield field, files


def _list_choices(spec: Any) -> list[Any] | None:
    """Return the choices of an input; None where it is of another kind.

    They are the type itself, or in the newer form of descriptions the option ``options`` of the type ``COMBO``.
    """
    if not isinstance(spec, (list, tuple)) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
    choices = options.get("options", [])
    return choices if spec[0] == "COMBO" and isinstance(choices, list) else None
