# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the uses of a model in every version of workflows and prompts, and in media."""

from __future__ import annotations

import json
from typing import Any

import pytest
from noslop_backend.maintenance.model_uses import ModelUses, find_model_uses
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout

from tests.backend.studio import Studio, png

STYLE = "loras/sdxl/Style.safetensors"


def find(storage: ProjectStorage, name: str = STYLE) -> ModelUses:
    (uses,) = find_model_uses(storage, [name])
    assert uses.name == name
    return uses


def documents(uses: ModelUses) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(one.project, one.name, one.versions) for one in uses.documents]


@pytest.mark.parametrize(
    "graph",
    [
        {"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "sdxl/Style.safetensors"}}},
        {"1": {"inputs": {"lora_name": "sdxl\\style.safetensors"}}},
        {"nodes": [{"type": "LoraLoader", "widgets_values": ["sdxl/Style.safetensors", 1]}]},
        {"definitions": {"subgraphs": [{"nodes": [{"widgets_values": [{"lora": "Style.safetensors"}]}]}]}},
        {"nodes": [{"properties": {"models": [{"name": "Style.safetensors", "directory": "loras"}]}}]},
        {"1": {"inputs": {"text": "a cat, <lora:sdxl/style:0.8>"}}},
        {"1": {"inputs": {"text": "a cat <lora:Style:0.8:1> <lora:other:1>"}}},
    ],
)
def test_a_workflow_that_names_the_model_is_found(storage: ProjectStorage, project: str, graph: dict[str, Any]) -> None:
    storage.save_workflow(project, "with", graph)
    storage.save_workflow(project, "without", {"1": {"inputs": {"lora_name": "sdxl/Style2.safetensors"}}})

    assert documents(find(storage)) == [(storage.get_project(project).name, "with", (1,))]


def test_all_versions_and_the_trash_are_read(storage: ProjectStorage, project: str) -> None:
    named: dict[str, Any] = {"a": ["sdxl/Style.safetensors"]}
    empty: dict[str, Any] = {"a": []}
    for graph in (named, empty, named):
        saved = storage.save_workflow(project, "graph", graph)
    storage.trash(project, [saved.id])

    assert documents(find(storage)) == [(storage.get_project(project).name, "graph", (1, 3))]


def test_prompts_and_media_count(storage: ProjectStorage, project: str) -> None:
    storage.save_prompt(project, "idea", "a fox <lora:style:1>, in snow")
    fields = {"loras": [{"name": "sdxl/Style.safetensors", "strength": 0.6}]}
    storage.save_generated_media(project, "one", png(1), parameters={"fields": fields})
    storage.save_generated_media(project, "two", png(2), parameters={"fields": {}})

    uses = find(storage)
    title = storage.get_project(project).name
    assert documents(uses) == [(title, "idea", (1,))]
    assert (uses.media_count, uses.media_projects) == (1, [title])


def test_a_model_of_ollama_is_found_by_its_name(storage: ProjectStorage, project: str) -> None:
    storage.save_workflow(project, "chat", {"1": {"inputs": {"model": "llama3.2:1b"}}})

    assert [one.name for one in find(storage, "llama3.2:1b").documents] == ["chat"]
    assert not find(storage, "llama3.2:3b").documents


def test_a_workflow_that_was_damaged_on_the_share_still_counts(
    studio: Studio, storage: ProjectStorage, project: str
) -> None:
    saved = storage.save_workflow(project, "graph", {"1": {"inputs": {"lora_name": "sdxl/Style.safetensors"}}})
    path = studio.root / project / saved.path
    path.write_text(json.dumps({"lora_name": "sdxl/Style.safetensors"})[:-1])

    assert [one.name for one in find(storage).documents] == ["graph"]


def test_a_workflow_that_is_gone_from_the_share_names_nothing(
    studio: Studio, storage: ProjectStorage, project: str
) -> None:
    saved = storage.save_workflow(project, "graph", {"a": "sdxl/Style.safetensors"})
    (studio.root / project / saved.path).unlink()

    assert not find(storage).documents


def test_several_models_are_told_apart(storage: ProjectStorage, project: str) -> None:
    storage.save_workflow(project, "both", {"a": ["one.gguf", "sdxl/Style.safetensors"]})
    names = [STYLE, "unet/one.gguf", "unet/two.gguf"]

    assert [len(one.documents) for one in find_model_uses(storage, names)] == [1, 1, 0]


def test_a_trashed_project_names_its_models(storage: ProjectStorage, project: str) -> None:
    storage.save_workflow(project, "graph", {"a": "sdxl/Style.safetensors"})
    storage.trash_project(project)

    assert len(find(storage).documents) == 1
    assert find(storage).documents[0].kind == layout.FileKind.WORKFLOW
