# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out what a workflow needs, and what of it a host lacks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.host import version_numbers
from ansible_collections.noslop.studio.plugins.module_utils.models.offers import is_model_file

from noslop_driver.workflows.formats import CORE_PACK, ModelLink, Node, Value, Workflow

FileInputs = Mapping[str, Sequence[str]]
"""The inputs of a node class that choose a model's file, each with the folders that it may choose from."""

_LEGACY_FOLDERS = {"clip": "text_encoders", "unet": "diffusion_models"}
"""The former names of folders, under which workflows may still name them (ComfyUI, folder_paths.py)."""
_CORE_FOLDERS = {
    "CheckpointLoaderSimple": "checkpoints",
    "CLIPLoader": "text_encoders",
    "CLIPVisionLoader": "clip_vision",
    "ControlNetLoader": "controlnet",
    "DiffControlNetLoader": "controlnet",
    "DualCLIPLoader": "text_encoders",
    "GLIGENLoader": "gligen",
    "ImageOnlyCheckpointLoader": "checkpoints",
    "LoraLoader": "loras",
    "LoraLoaderModelOnly": "loras",
    "QuadrupleCLIPLoader": "text_encoders",
    "StyleModelLoader": "style_models",
    "TripleCLIPLoader": "text_encoders",
    "UNETLoader": "diffusion_models",
    "UpscaleModelLoader": "upscale_models",
    "VAELoader": "vae",
    "unCLIPCheckpointLoader": "checkpoints",
}
"""The folders of ComfyUI's own loaders (nodes.py and comfy_extras), for folders that are empty on every host."""


@dataclass(frozen=True)
class Offers:
    """The offer of one host's ComfyUI of a workflow's classes and files, as the module comfyui_offers returns it."""

    version: str = ""
    classes: Mapping[str, FileInputs] = field(default_factory=dict)
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class NeededModel:
    """A model that a workflow needs. `link` is empty where the workflow names no address."""

    name: str
    """The name as the workflow has it, with the directory below the folder."""
    folders: tuple[str, ...]
    """The folder of ComfyUI that it belongs into. Several: it may be in any; none: nothing says which."""
    link: ModelLink

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths below the share at which ComfyUI looks for it."""
        return tuple(f"{folder}/{self.name}" for folder in self.folders)


@dataclass(frozen=True)
class NeededClass:
    """A node class that a workflow needs, and the pack that has it; an empty text where the workflow does not say."""

    name: str
    pack: str
    pack_version: str


@dataclass(frozen=True)
class Requirements:
    """The needs of a workflow."""

    models: tuple[NeededModel, ...]
    classes: tuple[NeededClass, ...]
    made_with: str
    """The newest version of ComfyUI that a node of it was made with; empty where none says."""


@dataclass(frozen=True)
class Lacking:
    """The needs of a workflow that one host does not meet."""

    models: tuple[NeededModel, ...]
    classes: tuple[NeededClass, ...]


def list_class_names(workflow: Workflow) -> list[str]:
    """Return the names of the classes of a workflow, each once."""
    return list(dict.fromkeys(node.class_name for node in workflow.nodes))


def list_file_names(workflow: Workflow) -> list[str]:
    """Return every text of a workflow that may be the name of a model's file, each once."""
    texts = [value.text for node in workflow.nodes for value in node.values if is_model_file(value.text)]
    return list(dict.fromkeys([*texts, *(link.name for node in workflow.nodes for link in node.links)]))


def find_requirements(workflow: Workflow, offers: Sequence[Offers] = ()) -> Requirements:
    """Return what a workflow needs.

    A model is what a node's own list names, or a text with the ending of a model in an input that chooses a file. Which
    inputs do that is what the hosts say; of a class that no host has, each such text is counted.
    """
    models: dict[tuple[str, tuple[str, ...]], NeededModel] = {}
    for node in workflow.nodes:
        for model in _list_models(node, offers):
            key = (model.name, model.folders)
            if key not in models or not models[key].link.url:
                models[key] = model
    classes: dict[str, NeededClass] = {}
    for node in workflow.nodes:
        if node.class_name not in classes or not classes[node.class_name].pack:
            classes[node.class_name] = NeededClass(node.class_name, node.pack, node.pack_version)
    made_with = ""
    for node in workflow.nodes:
        # Without a version the numbers are none, which is smaller than any.
        if node.pack == CORE_PACK and _is_newer(node.pack_version, made_with):
            made_with = node.pack_version
    return Requirements(_drop_unlinked(models.values()), tuple(classes.values()), made_with)


def find_lacking(requirements: Requirements, offers: Offers) -> Lacking:
    """Return what a host lacks of what a workflow needs."""
    return Lacking(
        tuple(model for model in requirements.models if not _has_model(model, offers)),
        tuple(one for one in requirements.classes if one.name not in offers.classes),
    )


def list_elsewhere(model: NeededModel, offers: Offers) -> list[str]:
    """Return the paths at which a host has a file of this name, such as in another directory of the folder."""
    name = model.name.rpartition("/")[2]
    return [
        f"{folder}/{listed}"
        for folder, files in offers.files.items()
        for listed in files
        if listed.rpartition("/")[2] == name
    ]


def _list_models(node: Node, offers: Sequence[Offers]) -> list[NeededModel]:
    links = {link.name: link for link in node.links if link.folder}
    others = {link.name: link for link in node.links if not link.folder}
    linked = [NeededModel(link.name, (_normalize_folder(link.folder),), link) for link in links.values()]
    texts = [
        value
        for value in node.values
        if value.text not in links and (value.text in others or is_model_file(value.text))
    ]
    described = [one.classes[node.class_name] for one in offers if node.class_name in one.classes]
    if not described:
        folders = _default_folders(node.class_name)
        return linked + [
            NeededModel(value.text, folders, others.get(value.text, ModelLink(value.text, "", ""))) for value in texts
        ]
    inputs = _merge_inputs(described)
    if not inputs:  # a class without files, such as one that writes them
        return linked
    ordered = [value for value in node.values if value in texts or value.text in links]
    unlinked = []
    for value in texts:
        if not value.field or value.field in inputs:
            folders = _find_folders(value, ordered, inputs, offers) or _default_folders(node.class_name)
            unlinked.append(NeededModel(value.text, folders, others.get(value.text, ModelLink(value.text, "", ""))))
    return linked + unlinked


def _merge_inputs(described: Iterable[FileInputs]) -> dict[str, tuple[str, ...]]:
    """Return the file inputs of a class, with the folders that they have on the hosts where they have choices."""
    merged: dict[str, tuple[str, ...]] = {}
    for inputs in described:
        for name, folders in inputs.items():
            # A folder that has all choices on one host only has a copy there: the fewest are right.
            if name not in merged or (folders and (not merged[name] or len(folders) < len(merged[name]))):
                merged[name] = tuple(folders)
    return merged


def _find_folders(
    value: Value, ordered: Sequence[Value], inputs: Mapping[str, tuple[str, ...]], offers: Sequence[Offers]
) -> tuple[str, ...]:
    """Return the folders for a text of a node: those of its input, if that is clear, else those of all of them."""
    if value.field:
        return inputs[value.field]
    if len(inputs) == len(ordered):  # a text for each input, in the order of the inputs
        return list(inputs.values())[ordered.index(value)]
    together = tuple(dict.fromkeys(folder for folders in inputs.values() for folder in folders))
    having = tuple(folder for folder in together if any(value.text in one.files.get(folder, ()) for one in offers))
    return having or together


def _default_folders(class_name: str) -> tuple[str, ...]:
    folder = _CORE_FOLDERS.get(class_name)
    return (folder,) if folder else ()


def _normalize_folder(folder: str) -> str:
    first, slash, rest = folder.strip("/").partition("/")
    return f"{_LEGACY_FOLDERS.get(first, first)}{slash}{rest}"


def _has_model(model: NeededModel, offers: Offers) -> bool:
    if not model.folders:
        return any(model.name in files for files in offers.files.values())
    for path in model.paths:
        folder, _, name = path.partition("/")
        if name in offers.files.get(folder, ()):
            return True
    return False


def _drop_unlinked(models: Iterable[NeededModel]) -> tuple[NeededModel, ...]:
    """Return the models, without those that another node names with an address."""
    listed = tuple(models)
    linked = {path for model in listed if model.link.url for path in model.paths}
    return tuple(model for model in listed if model.link.url or not model.paths or not linked.intersection(model.paths))


def _is_newer(version: str, other: str) -> bool:
    return version_numbers.parse_numbers(version) > version_numbers.parse_numbers(other)
