# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn a workflow of ComfyUI's user interface into a graph like a prompt's, as far as it says what values belong to.

A workflow has nodes with `widgets_values` in the order of the widgets, links, and subgraphs, which are nodes whose type
is the id of a definition. Where the inputs do not name the widgets, the table below has the order for some of ComfyUI's
own nodes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from noslop_backend.media.tags.graph import Graph, source

#: Nodes and links of all subgraphs together, and how deep they lie in each other.
_STEPS_LIMIT = 100_000
_DEPTH_LIMIT = 16
#: `mode` of a node that does not run, and of one that is passed.
_MUTED, _BYPASSED = 2, 4
#: Ids of a subgraph's own inputs and outputs.
_INPUTS, _OUTPUTS = "-10", "-20"
#: What follows a seed among the values, without a name.
_CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize"})
_SEEDS = frozenset({"seed", "noise_seed"})
_WIDGETS: dict[str, tuple[str, ...]] = {
    "KSampler": ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        *("add_noise", "noise_seed", "steps", "cfg", "sampler_name", "scheduler", "start_at_step", "end_at_step"),
        "return_with_leftover_noise",
    ),
    "RandomNoise": ("noise_seed",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "VAELoader": ("vae_name",),
    "CLIPLoader": ("clip_name",),
    "DualCLIPLoader": ("clip_name1", "clip_name2"),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "ControlNetLoader": ("control_net_name",),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "PrimitiveNode": ("value",),
    "PrimitiveInt": ("value",),
    "PrimitiveFloat": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveBoolean": ("value",),
    "StringConcatenate": ("string_a", "string_b", "delimiter"),
}


class _Builder:
    """Collects the nodes of a workflow and its subgraphs. Ids of nodes in a subgraph are `outer:inner`."""

    def __init__(self, workflow: dict[str, Any]) -> None:
        definitions = workflow.get("definitions")
        subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
        self._subgraphs = {str(one.get("id")): one for one in _objects(subgraphs)}
        self._origins: dict[str, list[list[Any]]] = {}
        self._steps_left = _STEPS_LIMIT
        self.graph: Graph = {}

    def add(
        self, part: dict[str, Any], prefix: str = "", outer: dict[int, list[Any]] | None = None, depth: int = 0
    ) -> None:
        """Add the nodes of a workflow or of a subgraph. `outer` are the links into the subgraph, by slot."""
        links = _links(part)
        outer = outer or {}
        # Where a link begins, seen from outside of the subgraph where it begins at its inputs.
        origins = {
            link: outer.get(slot) if node == _INPUTS else [prefix + node, slot]
            for link, (node, slot, _) in links.items()
        }
        self._steps_left -= len(links)
        for node in _objects(part.get("nodes")):
            self._steps_left -= 1
            if self._steps_left < 0:
                return
            if node.get("mode") == _MUTED:
                continue
            node_id, kind = f"{prefix}{node.get('id')}", str(node.get("type"))
            inputs = _inputs(node, kind, origins)
            if node.get("mode") == _BYPASSED:
                self._origins[node_id] = [value for value in inputs.values() if isinstance(value, list)]
            elif kind in self._subgraphs and depth < _DEPTH_LIMIT:
                self._add_subgraph(node, node_id, self._subgraphs[kind], origins, depth)
            else:
                self.graph[node_id] = {"class_type": kind, "inputs": inputs}

    def _add_subgraph(
        self, node: dict[str, Any], node_id: str, part: dict[str, Any], origins: dict[int, list[Any] | None], depth: int
    ) -> None:
        outer = {
            slot: origin
            for slot, one in enumerate(_objects(node.get("inputs")))
            if isinstance(one.get("link"), int) and (origin := origins.get(one["link"])) is not None
        }
        self.add(part, f"{node_id}:", outer, depth + 1)
        leaving = [(slot, origin) for origin, slot in _leaving(_links(part), f"{node_id}:")]
        self._origins[node_id] = [origin for _, origin in sorted(leaving, key=lambda pair: pair[0])]

    def connect(self) -> Graph:
        """Replace links to subgraphs and bypassed nodes by what is behind them, and return the graph."""
        for node in self.graph.values():
            for name, value in node["inputs"].items():
                node["inputs"][name] = self._behind(value)
        return self.graph

    def _behind(self, value: Any) -> Any:  # noqa: ANN401 - a literal or a link
        for _ in range(_DEPTH_LIMIT):
            node_id = source(value)
            outputs = self._origins.get(node_id) if node_id is not None else None
            if not outputs:
                break
            slot = value[1]
            value = outputs[slot] if 0 <= slot < len(outputs) else outputs[0]
        return value


def to_graph(workflow: dict[str, Any]) -> Graph:
    """Return a workflow as a graph like that of a prompt; what it does not say is missing."""
    builder = _Builder(workflow)
    builder.add(workflow)
    return builder.connect()


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _links(part: dict[str, Any]) -> dict[int, tuple[str, int, tuple[str, int]]]:
    """Return the links by id: where each begins (node and slot), and where it ends."""
    links: dict[int, tuple[str, int, tuple[str, int]]] = {}
    listed = part.get("links")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            ends = [one.get(name) for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
        elif isinstance(one, list) and len(one) >= 5:
            ends = one[:5]
        else:
            continue
        number, origin, origin_slot, target, target_slot = ends
        if not isinstance(origin_slot, int) or not isinstance(target_slot, int) or not isinstance(number, int):
            continue
        if origin_slot >= 0 and target_slot >= 0:
            links[number] = (str(origin), origin_slot, (str(target), target_slot))
    return links


def _leaving(links: dict[int, tuple[str, int, tuple[str, int]]], prefix: str) -> Iterator[tuple[list[Any], int]]:
    for node, slot, (target, target_slot) in links.values():
        if target == _OUTPUTS:
            yield [prefix + node, slot], target_slot


def _inputs(node: dict[str, Any], kind: str, origins: dict[int, list[Any] | None]) -> dict[str, Any]:
    inputs = dict(_widgets(node, kind))
    for one in _objects(node.get("inputs")):
        name, link = one.get("name"), one.get("link")
        if isinstance(name, str) and isinstance(link, int) and origins.get(link) is not None:
            inputs[name] = origins[link]
    return inputs


def _widgets(node: dict[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    values = node.get("widgets_values")
    if isinstance(values, dict):
        yield from ((name, value) for name, value in values.items() if isinstance(name, str))
        return
    listed = [one["widget"].get("name") for one in _objects(node.get("inputs")) if isinstance(one.get("widget"), dict)]
    # Older workflows list only widgets that were made inputs, so what the table has counts first.
    names = list(_WIDGETS.get(kind, ())) or [name for name in listed if isinstance(name, str)]
    left = list(values) if isinstance(values, list) else []
    for number, value in enumerate(left):
        if isinstance(value, dict) and ("lora" in value):
            # Power Lora Loader: an object for each line, without a name.
            yield f"lora_{number}", value
    for name in names:
        if not left:
            return
        yield name, left.pop(0)
        if name in _SEEDS and left and isinstance(left[0], str) and left[0] in _CONTROLS:
            left.pop(0)
