# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from a ComfyUI prompt how a picture was made: seeds, samplers, models, LoRAs and texts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from noslop_backend.media.tags.graph import Graph, Links, Literal, is_literal, node_class, node_inputs, source

#: What makes a node a sampler, or part of one that is spread over several nodes (RandomNoise, KSamplerSelect, ...).
_SAMPLING = (
    *("seed", "noise_seed", "steps", "cfg", "guidance", "sampler_name", "scheduler", "denoise"),
    *("start_at_step", "end_at_step", "add_noise", "return_with_leftover_noise"),
)
#: Of these, words and not numbers.
_WORDS = frozenset({"sampler_name", "scheduler", "add_noise", "return_with_leftover_noise"})
#: Inputs that name a file of a model.
_MODELS = (
    *("ckpt_name", "unet_name", "model_name", "lora_name", "vae_name", "control_net_name", "style_model_name"),
    *("clip_name", "clip_name1", "clip_name2", "clip_name3", "clip_name4", "upscale_model", "hypernetwork_name"),
)
_TEXTS = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "prompt", "positive_prompt", "negative_prompt")
_SIDES = {
    "positive": ("positive", "positive_prompt", "text_positive"),
    "negative": ("negative", "negative_prompt", "text_negative"),
}
_SIZES = ("width", "height", "batch_size", "length", "fps", "frame_rate")
#: What leads to a text is followed by `resolve`; what leads to none of the prompt's texts is not followed for them.
_NOT_CONDITIONING = frozenset({
    *_TEXTS, *("clip", "model", "vae", "image", "pixels", "samples", "latent", "latent_image", "mask", "control_net"),
    *("clip_vision", "clip_vision_output", "style_model", "images"),
})  # fmt: skip
#: ConditioningZeroOut and its like make a text mean nothing.
_ZEROING = re.compile(r"zero.?out")
_STRENGTHS = ("strength_model", "strength", "model_strength", "lora_strength", "weight", "model_weight")
_CLIP_STRENGTHS = ("strength_clip", "clip_strength", "clip_weight")
#: A LoRA of a stack: its number, and what its strength is called beside it.
_STACKED = re.compile(r"lora(?:_name)?_(\d+)(?:_name)?")
_STACKED_STRENGTHS = ("model_weight_{}", "model_str_{}", "lora_wt_{}", "strength_{}", "lora_{}_strength", "weight_{}")
_ITEMS_LIMIT = 100
_TEXT_LIMIT = 2000
_LIMIT_BYTES = 256 * 1024


def upstream(graph: Graph, node_id: str) -> list[str]:
    """Return the ids of a node and of all that it gets something from, nearest first."""
    return Links(graph).upstream(node_id)


def parameters(graph: Graph, node_ids: Iterable[str]) -> dict[str, Any]:
    """Return how these nodes are set.

    Returns:
        `sampling`: of each node that samples its id, class and settings; `models`: node, input, name, and of a
        ControlNet its strength; `loras`: node, name, `strength` and `strength_clip`; `sizes`; `positive` and
        `negative`: texts that lead into inputs of these names; `texts`: those and all others; `unresolved`: node,
        input, and why its link could not be followed. Empty ones are left out.
    """
    links = Links(graph)
    nodes = [node_id for node_id in node_ids if node_inputs(graph, node_id) is not None]
    values: dict[str, list[Any]] = {
        "sampling": _settings(links, nodes, _SAMPLING),
        "models": list(_models(links, nodes)),
        "loras": [one for node_id in nodes for one in _loras(links, node_id)],
        "sizes": _settings(links, nodes, _SIZES),
        "positive": _conditioning(links, nodes, "positive"),
        "negative": _conditioning(links, nodes, "negative"),
        "texts": _texts_of(links, nodes, _TEXTS),
    }
    values["unresolved"] = [{name: clean(value) for name, value in asdict(one).items()} for one in links.unresolved]
    return _fitting({name: listed[:_ITEMS_LIMIT] for name, listed in values.items() if listed})


def _fitting(values: dict[str, Any]) -> dict[str, Any]:
    """Leave the longest out until the rest is short enough for a row. All of it is in the prompt."""
    sizes = {name: len(json.dumps(listed)) for name, listed in values.items()}
    while sum(sizes.values()) > _LIMIT_BYTES:
        del sizes[max(sizes, key=sizes.__getitem__)]
    return {name: listed for name, listed in values.items() if name in sizes}


def class_of(graph: Graph, node_id: str) -> str:
    """Return the class of a node as a text that a database can hold; empty when the graph does not say."""
    return clean(node_class(graph, node_id))


def _settings(links: Links, nodes: list[str], names: tuple[str, ...]) -> list[dict[str, Any]]:
    settings = []
    for node_id in nodes:
        values = {name: value for name in names if (value := _setting(links, node_id, name)) is not None}
        if values:
            settings.append({"node": clean(node_id), "class": class_of(links.graph, node_id), **values})
    return settings


def _setting(links: Links, node_id: str, name: str) -> Literal | None:
    value = (node_inputs(links.graph, node_id) or {}).get(name)
    literal = links.resolve(node_id, name)
    # Through links a number may come as a text, or something else altogether.
    if source(value) is not None and isinstance(literal, str) != (name in _WORDS):
        return None
    return clean(literal) if isinstance(literal, str) else literal


def _models(links: Links, nodes: list[str]) -> Iterator[dict[str, Any]]:
    strengths = _control_strengths(links, nodes)
    for node_id in nodes:
        for name in _MODELS:
            model = links.resolve(node_id, name)
            if isinstance(model, str):
                more = {"strength": strengths[node_id]} if node_id in strengths else {}
                yield {"node": clean(node_id), "input": name, "name": clean(model), **more}


def _control_strengths(links: Links, nodes: list[str]) -> dict[str, Literal]:
    """Return the strengths of ControlNets by the node that loads them: they stand where they are applied."""
    strengths: dict[str, Literal] = {}
    for node_id in nodes:
        loader = source((node_inputs(links.graph, node_id) or {}).get("control_net"))
        if loader is not None and isinstance(strength := links.resolve(node_id, "strength"), int | float):
            strengths[loader] = strength
    return strengths


def _loras(links: Links, node_id: str) -> Iterator[dict[str, Any]]:
    inputs = node_inputs(links.graph, node_id) or {}
    strength = _number(links, node_id, _STRENGTHS)
    for name, value in inputs.items():
        if name in {"lora_name", "lora"} and isinstance(model := links.resolve(node_id, name), str):
            yield from _lora(node_id, model, strength, _number(links, node_id, _CLIP_STRENGTHS))
        elif (stacked := _STACKED.fullmatch(name)) and isinstance(value, str):
            number = stacked[1]
            if str(inputs.get(f"switch_{number}", "On")).lower() != "off":
                names = tuple(one.format(number) for one in _STACKED_STRENGTHS)
                yield from _lora(node_id, value, _number(links, node_id, names), None)
        elif isinstance(value, dict):
            # Power Lora Loader: an object for each line. Lora Manager: a list of them in `__value__`.
            listed = value.get("__value__")
            for one in listed if isinstance(listed, list) else [value]:
                yield from _nested(node_id, one)


def _nested(node_id: str, value: object) -> Iterator[dict[str, Any]]:
    if not isinstance(value, dict) or value.get("on") is False or value.get("active") is False:
        return
    name = value.get("lora") or value.get("name")
    if isinstance(name, str):
        pair = [value.get("strength"), value.get("strengthTwo") or value.get("clipStrength")]
        yield from _lora(node_id, name, *(one if isinstance(one, int | float) else None for one in pair))


def _lora(node_id: str, name: str, strength: float | None, strength_clip: float | None) -> Iterator[dict[str, Any]]:
    if name.strip().lower() in {"", "none"}:
        return
    pair = {"strength": strength, "strength_clip": strength_clip}
    numbers = {key: value for key, value in pair.items() if value is not None and is_literal(value)}
    yield {"node": clean(node_id), "name": clean(name), **numbers}


def _number(links: Links, node_id: str, names: tuple[str, ...]) -> int | float | None:
    values = (links.resolve(node_id, name) for name in names)
    return next((value for value in values if isinstance(value, int | float)), None)


def _conditioning(links: Links, nodes: list[str], side: str) -> list[str]:
    """Return the texts that lead into every input of a side. A node that has both sides is passed on this one."""
    other = {"positive": "negative", "negative": "positive"}[side]
    own, without = _SIDES[side], _NOT_CONDITIONING | {other}
    texts = [text for node_id in nodes for text in _texts_of(links, [node_id], own)]
    for node_id in nodes:
        inputs = node_inputs(links.graph, node_id) or {}
        name = "conditioning" if side == "positive" and _is_guider(links.graph, node_id) else side
        origin = source(inputs.get(name))
        if origin is not None:
            texts += _texts_of(links, links.upstream(origin, without, _ZEROING), (*_TEXTS, *own), _SIDES[other])
    return list(dict.fromkeys(texts))


def _is_guider(graph: Graph, node_id: str) -> bool:
    return node_class(graph, node_id).lower().endswith("guider")


def _texts_of(links: Links, nodes: Iterable[str], names: tuple[str, ...], without: tuple[str, ...] = ()) -> list[str]:
    texts = []
    for node_id in nodes:
        inputs = node_inputs(links.graph, node_id) or {}
        for name in dict.fromkeys(names):
            # A side whose link leads to no text comes from conditioning, which `_conditioning` follows.
            if name not in inputs or name in without or (name in _SIDES and source(inputs[name]) is not None):
                continue
            if isinstance(text := links.resolve(node_id, name), str) and text.strip():
                texts.append(clean(text))
    return list(dict.fromkeys(texts))


def clean(value: str) -> str:
    """Return a text that a database and UTF-8 can hold, at most 2,000 letters of it."""
    return value[:_TEXT_LIMIT].replace("\0", "").encode("utf-8", "replace").decode()
