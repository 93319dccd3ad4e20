# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the links of a ComfyUI prompt: what a node gets its values from. Pure.

A graph is `{node_id: {"class_type", "inputs": {name: literal | [node_id, output]}}}`. Nodes are recognised by the names
of their inputs, and by words in their class where these say what they do, because custom nodes keep to those names.
What a node computes is not known here: a value is followed through nodes that pass one on, choose one, or join texts.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Any, TypeGuard

Graph = dict[str, Any]
Literal = str | int | float

#: Nodes that are visited for one graph, all questions together, and links that are followed for one value.
VISITS_LIMIT = 50_000
DEPTH_LIMIT = 64
#: Letters of a text that is joined of several.
JOINED_LIMIT = 100_000
_UNRESOLVED_LIMIT = 100
#: Inputs beside a value that do not change it.
_HARMLESS = frozenset({
    *("control_after_generate", "min", "max", "step", "label", "title", "notes", "strip_newlines", "multiline"),
    *("unique_id", "extra_pnginfo", "prompt_id"),
})  # fmt: skip
_PASSING = re.compile(r"reroute|preview|show|display|pass|primitive|convert|to[ _-]?(string|text|int|float)|anything")
_JOINING = re.compile(r"concat|join|combine|append|merge")
_TEXTUAL = re.compile(r"string|text|prompt|str\b")
_SWITCHING = re.compile(r"switch|select|mux|branch|if.?else")
_DELIMITERS = ("delimiter", "separator", "delim")
_INDEXES = frozenset({
    *("select", "index", "input", "switch", "boolean", "bool", "condition", "cond", "switch_condition", "selected"),
})  # fmt: skip
_ON = re.compile(r"(^|_)(true|tt)(_|$)|^on$")
_OFF = re.compile(r"(^|_)(false|ff)(_|$)|^off$")


@dataclass(frozen=True)
class Unresolved:
    """A value that could not be followed: of which node and input, and why."""

    node: str
    input: str
    why: str


class UnresolvableError(Exception):
    """A link that leads to no literal. The text says why."""


def node_inputs(graph: Graph, node_id: str) -> dict[str, Any] | None:
    """Return the inputs of a node; None when the graph has no such node."""
    node = graph.get(node_id)
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else None


def node_class(graph: Graph, node_id: str) -> str:
    """Return the class of a node; empty when the graph does not say."""
    node = graph.get(node_id)
    name = node.get("class_type") if isinstance(node, dict) else None
    return name if isinstance(name, str) else ""


def source(value: object) -> str | None:
    """Return the id of the node that an input comes from; None for a literal."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
        return value[0]
    return None


def is_literal(value: object) -> TypeGuard[Literal]:
    """Return whether a value is a text, or a number that a database can hold."""
    return isinstance(value, str) or (isinstance(value, int | float) and abs(value) < 2**64)


class Links:
    """The links of one graph, followed within one budget. `unresolved` names what could not be followed."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.unresolved: list[Unresolved] = []
        self._visits_left = VISITS_LIMIT

    def resolve(self, node_id: str, name: str) -> Literal | None:
        """Return the literal that an input has, itself or through links; None for neither.

        What could not be followed is added to `unresolved`.
        """
        value = (node_inputs(self.graph, node_id) or {}).get(name)
        try:
            return self._value(value, 0)
        except UnresolvableError as error:
            self._add_unresolved(node_id, name, error)
            return None

    def _add_unresolved(self, node_id: str, name: str, error: UnresolvableError) -> None:
        problem = Unresolved(node_id, name, str(error))
        if len(self.unresolved) < _UNRESOLVED_LIMIT and problem not in self.unresolved:
            self.unresolved.append(problem)

    def upstream(
        self, node_id: str, without: frozenset[str] = frozenset(), end: re.Pattern[str] | None = None
    ) -> list[str]:
        """Return the ids of a node and of all that it gets something from, nearest first. Circles are walked once.

        Args:
            node_id: where to start.
            without: names of inputs that are not followed.
            end: classes whose nodes are neither returned nor followed.

        Where a switch has a literal index only what it chooses is followed.
        """
        reached, waiting = [], deque([node_id])
        visited = {node_id}
        while waiting and self._visits_left > 0:
            current = waiting.popleft()
            inputs = node_inputs(self.graph, current)
            if inputs is None or (end and end.search(node_class(self.graph, current).lower())):
                continue
            self._visits_left -= 1
            reached.append(current)
            chosen = self._chosen(current, inputs, 0)
            for name, value in inputs.items():
                origin = source(value)
                if origin is None or origin in visited or name in without:
                    continue
                if chosen is None or name in chosen:
                    visited.add(origin)
                    waiting.append(origin)
        return reached

    def _value(self, value: object, depth: int) -> Literal | None:
        node_id = source(value)
        if node_id is None:
            return value if is_literal(value) else None
        if depth > DEPTH_LIMIT:
            raise UnresolvableError(f"more than {DEPTH_LIMIT} links lead to it")
        self._visits_left -= 1
        if self._visits_left < 0:
            raise UnresolvableError(f"the graph takes more than {VISITS_LIMIT} steps")
        inputs = node_inputs(self.graph, node_id)
        if inputs is None:
            raise UnresolvableError(f"node {node_id} is not in the graph")
        return self._output(node_id, inputs, depth + 1)

    def _output(self, node_id: str, inputs: dict[str, Any], depth: int) -> Literal | None:
        kind = node_class(self.graph, node_id)
        words = kind.lower()
        if _JOINING.search(words) and _TEXTUAL.search(words):
            return self._joined(node_id, inputs, depth)
        if (chosen := self._chosen(node_id, inputs, depth)) is not None:
            return self._first(inputs, chosen, depth)
        literals = [value for name, value in inputs.items() if name.lower() not in _HARMLESS and is_literal(value)]
        links = [value for value in inputs.values() if source(value) is not None]
        if len(literals) == 1 and not links:
            return literals[0]
        if len(links) == 1 and _PASSING.search(words):
            return self._value(links[0], depth)
        raise UnresolvableError(f"{kind or 'a node without a class'} (node {node_id}) computes it")

    def _first(self, inputs: dict[str, Any], names: frozenset[str], depth: int) -> Literal | None:
        for name, value in inputs.items():
            if name in names and not _is_index(name):
                return self._value(value, depth)
        raise UnresolvableError("a switch chooses an input that is not connected")

    def _joined(self, node_id: str, inputs: dict[str, Any], depth: int) -> str:
        delimiter = next((inputs[name] for name in _DELIMITERS if isinstance(inputs.get(name), str)), "")
        parts: list[str] = []
        for name, value in inputs.items():
            if name in _DELIMITERS or isinstance(value, bool) or not (isinstance(value, str) or source(value)):
                continue
            if isinstance(value, str) and not re.search(r"string|text|str|prompt|fix|^[a-z]$|\d$", name.lower()):
                continue
            try:
                part = self._value(value, depth)
            except UnresolvableError as error:
                # What is known of a text is worth more than nothing.
                self._add_unresolved(node_id, name, error)
                continue
            if isinstance(part, str) and part:
                parts.append(part)
            if sum(map(len, parts)) > JOINED_LIMIT:
                raise UnresolvableError(f"it is joined to more than {JOINED_LIMIT} letters")
        return delimiter.replace("\\n", "\n").join(parts)

    def _chosen(self, node_id: str, inputs: dict[str, Any], depth: int) -> frozenset[str] | None:
        """Return the inputs that count of a switch: the index and what it chooses; None for what is no switch."""
        if not _SWITCHING.search(node_class(self.graph, node_id).lower()):
            return None
        index_name = next(filter(_is_index, inputs), None)
        if index_name is None:
            # rgthree's Any Switch: the first that is connected of any_01, any_02, ...
            connected = [name for name, value in inputs.items() if source(value) is not None]
            is_numbered = all(name[-1:].isdigit() for name in connected)
            return frozenset(connected[:1]) if connected and is_numbered else None
        try:
            index = self._value(inputs[index_name], depth + 1)
        except UnresolvableError:
            return None
        wanted = [name for name in inputs if name != index_name and _is_choice(name, index)]
        return frozenset({index_name, wanted[0]}) if wanted else None


def _is_index(name: str) -> bool:
    return name.lower() in _INDEXES


def _is_choice(name: str, index: Literal | None) -> bool:
    """Return whether an input is the one that an index of a switch chooses."""
    words = name.lower()
    if isinstance(index, str) and index.lower() in {"true", "false", "on", "off"}:
        index = index.lower() in {"true", "on"}
    if isinstance(index, bool):
        return bool((_ON if index else _OFF).search(words) if words not in {"a", "b"} else words == "ba"[index])
    if isinstance(index, int):
        number = re.search(r"(\d+)$", words)
        return number is not None and int(number[1]) == index
    return isinstance(index, str) and words == index.lower()
