# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse a workflow: the editor's format, also with subgraphs and groups, or the format of the API. Pure.

A workflow may come from anywhere, so nothing in it is relied on. What has another form than it should is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noslop_driver.errors import UsageError

CORE_PACK = "comfy-core"
"""The pack whose nodes are ComfyUI itself (`properties.cnr_id`)."""

_EDITOR_CLASSES = frozenset({"MarkdownNote", "Note", "PrimitiveNode", "Reroute"})
"""Nodes of the editor, of which the host's ComfyUI never hears."""
_OFF = (2, 4)
"""The modes of nodes that do not run: muted and bypassed (ComfyUI_frontend, LGraphEventMode)."""
_SUBGRAPH = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""The type of a subgraph's node is the ID of its definition, a UUID."""
_GROUP = re.compile(r"workflow[>/](.+)", re.DOTALL)
"""The type of a group's node, which older editors made of several nodes."""


@dataclass(frozen=True)
class ModelLink:
    """A model that a node's own list names, with the address that it comes from. Empty texts are missing."""

    name: str
    url: str
    folder: str
    sha256: str = ""


@dataclass(frozen=True)
class Value:
    """A text that a node has, and the input that it is of; the editor's format does not name the input."""

    text: str
    field: str = ""


@dataclass(frozen=True)
class Node:
    """A node that runs on a host."""

    class_name: str
    values: tuple[Value, ...] = ()
    links: tuple[ModelLink, ...] = ()
    pack: str = ""
    """The pack that has the class, as the registry or a repository is named: `comfy-core`, `owner/name`."""
    pack_version: str = ""


@dataclass(frozen=True)
class Workflow:
    """The nodes of a workflow that run, also those inside of subgraphs."""

    nodes: tuple[Node, ...]
    switched_off: int = 0
    """The number of nodes that are muted or bypassed."""


def parse_workflow(content: bytes, name: str) -> Workflow:
    """Parse a workflow.

    Args:
        content: the JSON.
        name: how messages call it.

    Raises:
        UsageError: it is no JSON, or no workflow.
    """
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise UsageError(f"{name} is nested too deeply to be a workflow.") from error
    except ValueError as error:
        raise UsageError(f"{name} is no JSON: {error}. Save the workflow again, or export it from the menu.") from error
    for key in ("workflow", "prompt"):  # as the history and the queue have them
        if isinstance(value, Mapping) and "nodes" not in value and isinstance(value.get(key), Mapping):
            value = value[key]
    if isinstance(value, Mapping) and isinstance(value.get("nodes"), list):
        return _parse_graph(value)
    nodes = tuple(_list_prompt_nodes(value)) if isinstance(value, Mapping) else ()
    if not nodes:
        raise UsageError(f"{name} has no nodes of a workflow. Pass a file that ComfyUI saved or exported.")
    return Workflow(nodes)


def _list_prompt_nodes(prompt: Mapping[str, Any]) -> Iterator[Node]:
    """Yield the nodes of the API's format: an entry a node, with its inputs by name."""
    for entry in prompt.values():
        if isinstance(entry, Mapping) and (class_name := _get_text(entry, "class_type")):
            fields = _get_mapping(entry, "inputs").items()
            yield Node(class_name, tuple(Value(text, field) for field, value in fields for text in _list_texts(value)))


def _parse_graph(graph: Mapping[str, Any]) -> Workflow:
    """Return the nodes of the editor's format. A subgraph that no node uses does not count."""
    definitions = {
        str(subgraph.get("id")): _list_mappings(subgraph.get("nodes"))
        for subgraph in _list_mappings(_get_mapping(graph, "definitions").get("subgraphs"))
    }
    groups = {
        str(name): _list_mappings(_get_mapping(group).get("nodes"))
        for name, group in _get_mapping(_get_mapping(graph, "extra"), "groupNodes").items()
    }
    nodes: list[Node] = []
    switched_off = 0
    waiting = [(_list_mappings(graph["nodes"]), False)]
    done: set[tuple[str, bool]] = set()
    while waiting:
        entries, off = waiting.pop()
        for entry in entries:
            class_name = _get_text(entry, "type")
            if not class_name or class_name in _EDITOR_CLASSES:
                continue
            is_off = off or entry.get("mode") in _OFF
            inner = definitions.get(class_name)
            if inner is None and (match := _GROUP.fullmatch(class_name)):
                inner = groups.get(match[1], [])
            if inner is None and _SUBGRAPH.fullmatch(class_name):
                inner = []
            if inner is not None:
                # Once each, however often it is used: subgraphs may be nested, and a hostile one in itself.
                if (class_name, is_off) not in done:
                    done.add((class_name, is_off))
                    waiting.append((inner, is_off))
            elif is_off:
                switched_off += 1
            else:
                nodes.append(_parse_node(class_name, entry))
    return Workflow(tuple(nodes), switched_off)


def _parse_node(class_name: str, entry: Mapping[str, Any]) -> Node:
    properties = _get_mapping(entry, "properties")
    texts = _list_texts(entry.get("widgets_values"))
    links = (_parse_link(link) for link in _list_mappings(properties.get("models")))
    return Node(
        class_name,
        tuple(Value(text) for text in texts),
        # A list may be older than the choice beside it: the editor too goes by the models that are chosen.
        tuple(link for link in links if link.name and link.name in texts),
        _get_text(properties, "cnr_id") or _get_text(properties, "aux_id"),
        _get_text(properties, "ver"),
    )


def _parse_link(link: Mapping[str, Any]) -> ModelLink:
    is_sha256 = _get_text(link, "hash_type").upper() == "SHA256"
    digest = _get_text(link, "hash").lower() if is_sha256 else ""
    return ModelLink(_get_text(link, "name"), _get_text(link, "url"), _get_text(link, "directory"), digest)


def _list_texts(value: object) -> list[str]:
    """Return the texts of a widget, or of the widgets of a node: a list, or names with values."""
    values: Sequence[object] = [value]
    if isinstance(value, Mapping):
        values = list(value.values())
    elif isinstance(value, list):
        values = value
    return [_clean(text) for text in values if isinstance(text, str)]


def _list_mappings(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _get_mapping(value: object, key: str | None = None) -> Mapping[str, Any]:
    """Return a mapping, or the one under a key of it; an empty one where it is something else."""
    if key is not None:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _get_text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    return _clean(text) if isinstance(text, str) else ""


def _clean(text: str) -> str:
    """Return a text that can be encoded: JSON may have half a character, which no file name has."""
    return text.encode("utf-8", "replace").decode("utf-8")
