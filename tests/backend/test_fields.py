# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the same fields of what different programs embed, and never more than a budget of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from noslop_backend.media.tags import fields, ui_workflow
from noslop_backend.media.tags.fields import Fields, Lora, Model, Source


def node(kind: str, **inputs: object) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


PROMPT = {
    "1": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
    "2": node(
        "LoraLoader", model=["1", 0], clip=["1", 1], lora_name="l.safetensors", strength_model=0.8, strength_clip=1
    ),
    "3": node("CLIPTextEncode", text=["9", 0], clip=["2", 1]),
    "4": node("CLIPTextEncode", text="blur", clip=["2", 1]),
    "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
    "6": node(
        "KSampler",
        seed=7,
        steps=20,
        cfg=6.5,
        sampler_name="euler",
        scheduler="karras",
        denoise=1,
        model=["2", 0],
        positive=["3", 0],
        negative=["4", 0],
        latent_image=["5", 0],
    ),
    "9": node("PrimitiveStringMultiline", value="a cat"),
}
EXPECTED = Fields(
    Source.COMFYUI,
    prompt="a cat",
    negative="blur",
    seeds=(7,),
    steps=20,
    cfg=6.5,
    sampler="euler",
    scheduler="karras",
    models=(Model("a.safetensors", "checkpoint"),),
    loras=(Lora("l.safetensors", 0.8, 1),),
    width=512,
    height=768,
)
A1111 = """a cat <lora:l.safetensors:0.8:1>
on a mat
Negative prompt: blur,
ugly
Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 7, Size: 512x768, Model hash: abc, Model: a, \
Lora hashes: "l: 123, m: 456", Civitai resources: [{"type":"checkpoint","air":"x, y"}], Version: v1.10"""
SWARM = {
    "sui_image_params": {
        "prompt": "a cat",
        "negativeprompt": "blur",
        "model": "a.safetensors",
        "seed": 7,
        "steps": 20,
        "cfgscale": 6.5,
        "sampler": "euler",
        "scheduler": "karras",
        "width": 512,
        "height": 768,
        "swarm_version": "0.9",
        "loras": ["l.safetensors"],
        "loraweights": ["0.8"],
    }
}
INVOKE = {
    "app_version": "5.4",
    "positive_prompt": "a cat",
    "negative_prompt": "blur",
    "seed": 7,
    "steps": 20,
    "cfg_scale": 6.5,
    "scheduler": "euler",
    "width": 512,
    "height": 768,
    "model": {"key": "1", "name": "a", "base": "sdxl", "type": "main"},
    "loras": [{"model": {"name": "l"}, "weight": 0.8}],
}


def ui_node(number: int, kind: str, values: object = (), *, mode: int = 0, **links: int) -> dict[str, Any]:
    inputs = [{"name": name, "link": link} for name, link in links.items()]
    return {"id": number, "type": kind, "mode": mode, "inputs": inputs, "widgets_values": values}


SUBGRAPH = "8f1b"
WORKFLOW: dict[str, Any] = {
    "nodes": [
        ui_node(1, "CheckpointLoaderSimple", ["a.safetensors"]),
        ui_node(2, "LoraLoader", ["l.safetensors", 0.8, 1], model=1, clip=2),
        ui_node(30, SUBGRAPH, clip=3),
        ui_node(4, "CLIPTextEncode", ["blur"], clip=4),
        ui_node(5, "EmptyLatentImage", [512, 768, 1]),
        ui_node(11, "SomeNode", mode=4, conditioning=6),
        ui_node(
            *(6, "KSampler", [7, "randomize", 20, 6.5, "euler", "karras", 1]),
            model=5,
            positive=10,
            negative=7,
            latent=8,
        ),
        ui_node(12, "CheckpointLoaderSimple", ["muted.safetensors"], mode=2),
        ui_node(13, "Note", ["a note"]),
    ],
    "links": [
        [1, 1, 0, 2, 0, "MODEL"],
        [2, 1, 1, 2, 1, "CLIP"],
        [3, 2, 1, 30, 0, "CLIP"],
        [4, 2, 1, 4, 0, "CLIP"],
        [5, 2, 0, 6, 0, "MODEL"],
        [6, 30, 0, 11, 0, "CONDITIONING"],
        [10, 11, 0, 6, 1, "CONDITIONING"],
        [7, 4, 0, 6, 2, "CONDITIONING"],
        [8, 5, 0, 6, 3, "LATENT"],
        "nonsense",
    ],
    "definitions": {
        "subgraphs": [
            {
                "id": SUBGRAPH,
                "nodes": [
                    ui_node(3, "CLIPTextEncode", [""], clip=1, text=2),
                    ui_node(9, "PrimitiveStringMultiline", ["a cat"]),
                ],
                "links": [
                    {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0},
                    {"id": 2, "origin_id": 9, "origin_slot": 0, "target_id": 3, "target_slot": 1},
                    {"id": 3, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0},
                ],
            }
        ]
    },
}
CASES: dict[str, tuple[dict[str, str], Fields]] = {
    "a prompt": ({"prompt": json.dumps(PROMPT)}, EXPECTED),
    "a workflow with a subgraph": ({"workflow": json.dumps(WORKFLOW)}, EXPECTED),
    "a workflow whose seed comes from a primitive": (
        {
            "workflow": json.dumps(
                {
                    "nodes": [
                        ui_node(1, "PrimitiveNode", [9, "fixed"]),
                        ui_node(2, "KSampler", [7, "randomize", 20, 6.5, "euler", "karras", 1])
                        | {"inputs": [{"name": "seed", "link": 1, "widget": {"name": "seed"}}]},
                    ],
                    "links": [[1, 1, 0, 2, 4, "INT"]],
                }
            )
        },
        Fields(Source.COMFYUI, seeds=(9,), steps=20, cfg=6.5, sampler="euler", scheduler="karras"),
    ),
    "widgets that the workflow names": (
        {
            "workflow": json.dumps(
                {
                    "nodes": [
                        ui_node(1, "SomeSampler", [9, "fixed", 20])
                        | {
                            "inputs": [
                                {"name": name, "link": None, "widget": {"name": name}} for name in ("seed", "steps")
                            ]
                        },
                    ]
                }
            )
        },
        Fields(Source.COMFYUI, seeds=(9,), steps=20),
    ),
    "a prompt counts before its workflow": ({"workflow": "{}", "prompt": json.dumps(PROMPT)}, EXPECTED),
    "VideoHelperSuite": (
        {"comment": json.dumps({"prompt": json.dumps(PROMPT), "workflow": WORKFLOW})},
        replace(EXPECTED, source=Source.VIDEOHELPERSUITE),
    ),
    "A1111": (
        {"parameters": A1111},
        replace(
            *(EXPECTED,),
            source=Source.A1111,
            prompt="a cat <lora:l.safetensors:0.8:1>\non a mat",
            negative="blur,\nugly",
            sampler="Euler a",
            scheduler="Karras",
            models=(Model("a", "checkpoint"),),
        ),
    ),
    "A1111 in a JPEG": (
        {"UserComment": "a cat\nSteps: 20, Seed: 7"},
        Fields(Source.A1111, prompt="a cat", seeds=(7,), steps=20),
    ),
    "SwarmUI": (
        {"parameters": json.dumps(SWARM)},
        replace(EXPECTED, source=Source.SWARMUI, loras=(Lora("l.safetensors", 0.8),)),
    ),
    "SwarmUI in a JPEG": (
        {"UserComment": json.dumps(SWARM)},
        replace(EXPECTED, source=Source.SWARMUI, loras=(Lora("l.safetensors", 0.8),)),
    ),
    "InvokeAI": (
        {"invokeai_metadata": json.dumps(INVOKE)},
        replace(
            *(EXPECTED,),
            source=Source.INVOKEAI,
            sampler="",
            scheduler="euler",
            models=(Model("a", "checkpoint"),),
            loras=(Lora("l", 0.8),),
        ),
    ),
    "what a graph does not say, parameters do": (
        {"prompt": json.dumps({"1": PROMPT["5"]}), "parameters": "a cat\nSteps: 20, Seed: 7, Size: 1x1, Model: a"},
        Fields(
            *(Source.COMFYUI,),
            prompt="a cat",
            seeds=(7,),
            steps=20,
            models=(Model("a", "checkpoint"),),
            width=512,
            height=768,
        ),
    ),
    "values that are no links": (
        {
            "workflow": json.dumps(
                {"nodes": [ui_node(1, "CLIPTextEncode", [[{}, 0]]), ui_node(2, "KSampler", [[[], 1]])]}
            )
        },
        Fields(Source.COMFYUI),
    ),
    "words of no program": ({"comment": "taken in May", "Software": "GIMP", "parameters": "{broken"}, Fields()),
    "an empty prompt": ({"prompt": "{}", "workflow": "[]"}, Fields()),
}


@pytest.mark.parametrize("name", CASES)
def test_programs_texts_make_the_same_fields(name: str) -> None:
    texts, expected = CASES[name]
    assert fields.from_texts(texts) == expected


def test_subgraphs_that_contain_themselves_end_at_their_budget() -> None:
    """Expand ten subgraphs in each of ten, and so on: as many as there are grains of sand without a budget."""
    part = {"id": SUBGRAPH, "nodes": [ui_node(number, SUBGRAPH) for number in range(10)], "links": []}
    workflow = {"nodes": [ui_node(1, SUBGRAPH)], "definitions": {"subgraphs": [part]}}
    assert len(ui_workflow.to_graph(workflow)) <= 100_000
