# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a picture was made, as far as the graph of a prompt says: seeds, samplers, models and texts. Pure.

A graph is `{node_id: {"class_type", "inputs": {name: literal | [node_id, output]}}}`. Nodes are known by the names of
their inputs and not by their classes, because custom nodes keep to those names. What a node computes is not known here:
only literal inputs are.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import Any

Graph = dict[str, Any]

#: What makes a node a sampler, or part of one that is spread over several nodes (RandomNoise, KSamplerSelect, ...).
_SAMPLING = (
    *("seed", "noise_seed", "steps", "cfg", "guidance", "sampler_name", "scheduler", "denoise"),
    *("start_at_step", "end_at_step", "add_noise", "return_with_leftover_noise"),
)
#: Inputs that name a file of a model.
_MODELS = (
    *("ckpt_name", "unet_name", "model_name", "lora_name", "vae_name", "control_net_name", "style_model_name"),
    *("clip_name", "clip_name1", "clip_name2", "clip_name3", "clip_name4", "upscale_model", "hypernetwork_name"),
)
_TEXTS = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "prompt", "positive_prompt", "negative_prompt")
_SIZES = ("width", "height", "batch_size", "length", "fps", "frame_rate")
_ITEMS_LIMIT = 100
_TEXT_LIMIT = 2000
_LIMIT_BYTES = 256 * 1024


def upstream(graph: Graph, node_id: str, without: str = "") -> list[str]:
    """Ids of a node and of all that it gets something from, nearest first. Circles are walked once.

    Inputs of the name `without` are not followed.
    """
    found, waiting = [], deque([node_id])
    seen = {node_id}
    while waiting:
        one = waiting.popleft()
        inputs = _inputs(graph, one)
        if inputs is None:
            continue
        found.append(one)
        for name, value in inputs.items():
            source = _source(value)
            if source is not None and source not in seen and name != without:
                seen.add(source)
                waiting.append(source)
    return found


def parameters(graph: Graph, node_ids: Iterable[str]) -> dict[str, Any]:
    """Tell how these nodes are set.

    Returns:
        `sampling`: of each node that samples its id, class and settings; `models`: node, input and name; `sizes`;
        `positive` and `negative`: texts that lead into inputs of these names; `texts`: those and all others. Empty
        ones are left out.
    """
    nodes = [node_id for node_id in node_ids if _inputs(graph, node_id) is not None]
    said: dict[str, list[Any]] = {
        "sampling": _settings(graph, nodes, _SAMPLING),
        "models": [
            {"node": _text(node_id), "input": name, "name": value}
            for node_id in nodes
            for name, value in _literals(graph, node_id, _MODELS).items()
        ],
        "sizes": _settings(graph, nodes, _SIZES),
        "positive": _conditioning(graph, nodes, "positive", without="negative"),
        "negative": _conditioning(graph, nodes, "negative", without="positive"),
        "texts": _texts_of(graph, nodes),
    }
    return _fitting({name: values[:_ITEMS_LIMIT] for name, values in said.items() if values})


def _fitting(said: dict[str, Any]) -> dict[str, Any]:
    """Leave the longest out until the rest is short enough for a row. All of it is in the prompt."""
    sizes = {name: len(json.dumps(values)) for name, values in said.items()}
    while sum(sizes.values()) > _LIMIT_BYTES:
        del sizes[max(sizes, key=sizes.__getitem__)]
    return {name: values for name, values in said.items() if name in sizes}


def node_class(graph: Graph, node_id: str) -> str:
    """Class of a node; empty when the graph does not say."""
    node = graph.get(node_id)
    found = node.get("class_type") if isinstance(node, dict) else None
    return _text(found) if isinstance(found, str) else ""


def _settings(graph: Graph, nodes: list[str], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"node": _text(node_id), "class": node_class(graph, node_id), **found}
        for node_id in nodes
        if (found := _literals(graph, node_id, names))
    ]


def _conditioning(graph: Graph, nodes: list[str], name: str, *, without: str) -> list[str]:
    """Texts upstream of every input of this name. A node that hands both sides on is passed on this side."""
    inputs = [(_inputs(graph, node_id) or {}).get(name) for node_id in nodes]
    sources = dict.fromkeys(source for value in inputs if (source := _source(value)) is not None)
    found = [_text(value) for value in inputs if isinstance(value, str) and value.strip()]
    for source in sources:
        found += _texts_of(graph, upstream(graph, source, without))
    return list(dict.fromkeys(found))


def _texts_of(graph: Graph, nodes: Iterable[str]) -> list[str]:
    found = (text for node_id in nodes for text in _literals(graph, node_id, _TEXTS).values())
    return list(dict.fromkeys(text for text in found if isinstance(text, str) and text.strip()))


def _literals(graph: Graph, node_id: str, names: tuple[str, ...]) -> dict[str, Any]:
    inputs = _inputs(graph, node_id) or {}
    return {name: _plain(inputs[name]) for name in names if _is_literal(inputs.get(name))}


def _inputs(graph: Graph, node_id: str) -> dict[str, Any] | None:
    node = graph.get(node_id)
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else None


def _source(value: object) -> str | None:
    """Id of the node that an input comes from."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
        return value[0]
    return None


def _is_literal(value: object) -> bool:
    # Numbers that a database could not take back are as good as none.
    return isinstance(value, str) or (isinstance(value, int | float) and abs(value) < 2**64)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a text or a number
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    """A text that a database and UTF-8 can hold."""
    return value[:_TEXT_LIMIT].replace("\0", "").encode("utf-8", "replace").decode()
