# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what is selected from ComfyUI's description of its node classes and its lists of files."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models.offers import select_classes, select_files

LISTINGS = {"checkpoints": ["painter.safetensors"], "vae": ["ae.safetensors", "sub/other.pt"], "loras": []}


def describe(spec: object, kind: str = "required") -> dict[str, object]:
    return {"Loader": {"input": {kind: {"name": spec}}}}


def inputs(info: Mapping[str, object]) -> dict[str, list[str]]:
    return select_classes(info, LISTINGS, ["Loader", "Missing"])["Loader"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ([["ae.safetensors", "sub/other.pt"], {}], {"name": ["vae"]}),
        ([["ae.safetensors"]], {"name": ["vae"]}),
        (["COMBO", {"options": ["painter.safetensors"]}], {"name": ["checkpoints"]}),
        # The small VAEs are no files, and "None" is a choice.
        ([["None", "taesd", "ae.safetensors"], {}], {"name": ["vae"]}),
        # Files of no folder, such as those that a custom node keeps beside itself.
        ([["own.onnx"], {}], {"name": []}),
        # Without a choice nothing says whether it would be a file.
        ([[], {}], {"name": []}),
        (["COMBO", {}], {"name": []}),
        ([["euler", "heun"], {}], {}),
        ([["example.png"], {"image_upload": True}], {}),
        (["COMBO", {"options": ["euler"]}], {}),
        (["STRING", {"default": "a.safetensors"}], {}),
        (["COMBO", {"options": "text"}], {}),
        ("STRING", {}),
        ([], {}),
        (None, {}),
    ],
)
def test_input_chooses_from_the_folders_that_have_all_of_its_files(
    spec: object, expected: dict[str, list[str]]
) -> None:
    assert inputs(describe(spec)) == expected
    assert inputs(describe(spec, "optional")) == expected
    assert inputs(describe(spec, "hidden")) == {}


@pytest.mark.parametrize("described", [None, [], {}, {"input": None}, {"input": {"required": []}}])
def test_class_without_a_usable_description_has_no_inputs(described: object) -> None:
    assert inputs({"Loader": described}) == {}


def test_files_are_selected_by_name_in_any_directory_and_folder() -> None:
    listings = {**LISTINGS, "loras": ["new/ae.safetensors", "x.pt"]}
    assert select_files(listings, ["other.pt", "flux/ae.safetensors"]) == {
        "vae": ["ae.safetensors", "sub/other.pt"],
        "loras": ["new/ae.safetensors"],
    }
    assert select_files(listings, []) == {}
