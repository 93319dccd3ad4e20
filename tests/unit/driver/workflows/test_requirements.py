# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what workflows need, with and without what hosts say of their node classes, and what a host lacks of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from noslop_driver.workflows.formats import Workflow, parse_workflow
from noslop_driver.workflows.requirements import (
    Offers,
    find_lacking,
    find_requirements,
    list_class_names,
    list_elsewhere,
    list_file_names,
)

WORKFLOWS = Path(__file__).parents[3] / "support" / "workflows"
#: By the name of a workflow: the models that it needs, each with its folders, where no host has its classes.
NEEDS: dict[str, dict[str, tuple[str, ...]]] = {
    "editor": {
        "painter.safetensors": ("checkpoints",),
        "sdxl/style.safetensors": ("loras",),
        "clip_l.safetensors": ("text_encoders",),
        "t5xxl.safetensors": ("text_encoders",),
        "not_a_model.safetensors": (),
    },
    "subgraph": {"painter_unet.safetensors": ("diffusion_models",), "painter_vae.safetensors": ("vae",)},
    "api": {
        "painter.safetensors": ("checkpoints",),
        "pose.safetensors": ("controlnet",),
        "a file called poem.safetensors": (),
        "4x.pth": ("upscale_models",),
    },
    "custom_nodes": {"gouache.safetensors": ()},
}


def read(name: str) -> Workflow:
    return parse_workflow((WORKFLOWS / f"{name}.json").read_bytes(), name)


def workflow(class_name: str, *widgets: str) -> Workflow:
    return parse_workflow(json.dumps({"nodes": [{"type": class_name, "widgets_values": widgets}]}).encode(), "it")


def needs(one: Workflow, *offers: Offers) -> dict[str, tuple[str, ...]]:
    return {model.name: model.folders for model in find_requirements(one, offers).models}


@pytest.mark.parametrize("name", NEEDS)
def test_workflow_needs_what_its_nodes_name(name: str) -> None:
    assert needs(read(name)) == NEEDS[name]


@pytest.mark.parametrize(("name", "class_name"), [("editor", "SaveImage"), ("api", "CLIPTextEncode")])
def test_text_of_a_class_that_chooses_no_file_is_no_model(name: str, class_name: str) -> None:
    needed = needs(read(name), Offers(classes={class_name: {}}))
    assert needed == {file: folders for file, folders in NEEDS[name].items() if folders}


def test_folders_of_a_class_are_those_that_a_host_says() -> None:
    offers = Offers(classes={"Painter Loader //Studio": {"gouache": ["paints"]}})
    assert needs(read("custom_nodes"), Offers(), offers) == {"gouache.safetensors": ("paints",)}


def test_folder_that_is_empty_on_one_host_is_named_by_another() -> None:
    empty, full = (Offers(classes={"PaintLoader": {"paint": folders}}) for folders in ([], ["paints"]))
    assert needs(workflow("PaintLoader", "oil.pt"), empty, full) == {"oil.pt": ("paints",)}
    assert needs(workflow("PaintLoader", "oil.pt"), empty) == {"oil.pt": ()}


def test_fewest_folders_win_because_a_host_may_have_copies() -> None:
    copies, one = (Offers(classes={"PaintLoader": {"paint": folders}}) for folders in (["paints", "vae"], ["paints"]))
    assert needs(workflow("PaintLoader", "oil.pt"), copies, one) == {"oil.pt": ("paints",)}


def test_texts_of_several_inputs_are_in_the_order_of_the_inputs() -> None:
    offers = Offers(classes={"TwoLoader": {"encoder": ["text_encoders"], "checkpoint": ["checkpoints"]}})
    assert needs(workflow("TwoLoader", "a.pt", "text", "b.pt"), offers) == {
        "a.pt": ("text_encoders",),
        "b.pt": ("checkpoints",),
    }
    # One text for two inputs: the folder that has it, else both.
    assert needs(workflow("TwoLoader", "a.pt"), offers) == {"a.pt": ("text_encoders", "checkpoints")}
    having = Offers(classes=offers.classes, files={"checkpoints": ["a.pt"]})
    assert needs(workflow("TwoLoader", "a.pt"), having) == {"a.pt": ("checkpoints",)}


def test_model_that_one_node_names_with_an_address_is_needed_once() -> None:
    link = {"name": "a.pt", "url": "https://models.invalid/a.pt", "directory": "vae"}
    nodes = [
        {"type": "VAELoader", "widgets_values": ["a.pt"]},
        {"type": "VAELoader", "widgets_values": ["a.pt"], "properties": {"models": [link]}},
    ]
    (model,) = find_requirements(parse_workflow(json.dumps({"nodes": nodes}).encode(), "it")).models
    assert model.link.url == link["url"]


def test_model_whose_list_names_no_folder_has_that_of_its_class() -> None:
    link = {"name": "a.pt", "url": "https://models.invalid/a.pt"}
    node = {"type": "VAELoader", "widgets_values": ["a.pt"], "properties": {"models": [link]}}
    (model,) = find_requirements(parse_workflow(json.dumps({"nodes": [node]}).encode(), "it")).models
    assert (model.folders, model.link.url) == (("vae",), link["url"])


def test_host_lacks_what_it_does_not_offer_under_the_same_path() -> None:
    requirements = find_requirements(read("editor"))
    offers = Offers(
        classes={"LoraLoader": {"lora_name": ["loras"]}},
        files={
            "checkpoints": ["painter.safetensors"],
            "loras": ["style.safetensors"],
            "vae": ["clip_l.safetensors"],
            "text_encoders": ["t5xxl.safetensors"],
        },
    )
    lacking = find_lacking(requirements, offers)
    assert [one.name for one in lacking.classes] == ["CheckpointLoaderSimple", "DualCLIPLoader", "SaveImage"]
    models = {model.name: model for model in lacking.models}
    assert sorted(models) == ["clip_l.safetensors", "not_a_model.safetensors", "sdxl/style.safetensors"]
    assert list_elsewhere(models["sdxl/style.safetensors"], offers) == ["loras/style.safetensors"]


def test_model_of_no_clear_folder_is_there_where_any_folder_has_it() -> None:
    requirements = find_requirements(read("custom_nodes"))
    assert find_lacking(requirements, Offers(files={"paints": ["gouache.safetensors"]})).models == ()


def test_newest_version_is_that_of_a_running_node_of_comfyui() -> None:
    assert find_requirements(read("editor")).made_with == "0.3.52"
    assert find_requirements(read("api")).made_with == ""


def test_request_to_the_hosts_has_each_name_once() -> None:
    one = read("editor")
    assert list_class_names(one) == ["CheckpointLoaderSimple", "LoraLoader", "DualCLIPLoader", "SaveImage"]
    assert list_file_names(one) == list(NEEDS["editor"])
