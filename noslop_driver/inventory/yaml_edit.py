# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change one list in a YAML file that a person has edited, and leave every other character of it as it is.

A parser that writes the whole file again moves comments: ruamel.yaml ties one to what stands before it, so that an
entry that goes takes the comment of the next variable along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

_WIDTH = 10**9


Change = Callable[[list[Any]], list[Any]]
"""Returns a list with a change."""


class EditError(Exception):
    """The file has a form in which the list cannot be changed without touching the rest."""


def add_entry(text: str, variable: str, entry: Mapping[str, Any]) -> str:
    """Return a file whose list `variable` has an entry more, as its last one.

    Raises:
        EditError: the list has a form that is not changed.
    """
    key, value = _find(text, variable)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if key is None:
        new = [*lines, f"{variable}:\n", *_render(entry, 2)]
    elif isinstance(value, yaml.SequenceNode) and value.value and not value.flow_style:
        end = find_last_line(value)
        new = [*lines[: end + 1], *_render(entry, value.start_mark.column), *lines[end + 1 :]]
    elif _is_empty(value):
        line = key.start_mark.line
        if find_last_line(value) != line and value.start_mark.line != value.end_mark.line:
            raise EditError(f"{variable} is empty over several lines")
        rest = lines[line][value.end_mark.column :] if value.end_mark.line == line else "\n"
        new = [*lines[:line], f"{variable}:{rest}", *_render(entry, 2), *lines[line + 1 :]]
    else:
        new = [_replace_brackets(text, variable, value, lambda before: [*before, entry])]
    return _checked("".join(new), text, variable, lambda before: [*before, dict(entry)])


def remove_entry(text: str, variable: str, number: int) -> str:
    """Return a file whose list `variable` lacks the entry of this number, counted from 0.

    A comment behind the entry, on its own lines, goes with it.

    Raises:
        EditError: the list has a form that is not changed.
    """

    def change(before: list[Any]) -> list[Any]:
        return before[:number] + before[number + 1 :]

    key, value = _find(text, variable)
    if key is None or not isinstance(value, yaml.SequenceNode):
        raise EditError(f"{variable} is no list")
    if value.flow_style:
        return _checked(_replace_brackets(text, variable, value, change), text, variable, change)
    lines = text.splitlines(keepends=True)
    node = value.value[number]
    first, last = node.start_mark.line, find_last_line(node)
    new = [*lines[:first], *lines[last + 1 :]]
    if len(value.value) == 1:
        line = key.start_mark.line
        new[line] = new[line].replace(f"{variable}:", f"{variable}: []", 1)
    return _checked("".join(new), text, variable, change)


def _replace_brackets(text: str, variable: str, node: yaml.Node, change: Change) -> str:
    """Return a file in which a list in brackets is one with an entry a line, with a change."""
    first, last = node.start_mark.index, node.end_mark.index
    if not isinstance(node, yaml.SequenceNode) or re.search(r"(^|\s)#", text[first:last]):
        raise EditError(f"{variable} is a list in brackets with comments in it")
    entries = change(yaml.safe_load(text)[variable])
    if not entries:
        return f"{text[:first]}[]{text[last:]}"
    rendered = "".join(line for entry in entries for line in _render(entry, 2)).rstrip("\n")
    return f"{text[:first].rstrip(' ')}\n{rendered}{text[last:]}"


def _find(text: str, variable: str) -> tuple[yaml.Node | None, yaml.Node]:
    """Return the nodes of a variable and its value; no variable, and the whole, where it is not set."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise EditError(f"it is no YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise EditError("it is no dictionary with a variable a line")
    for key, value in root.value:
        if key.value == variable:
            return key, value
    return None, root


def _is_empty(node: yaml.Node) -> bool:
    return not node.value or (isinstance(node, yaml.ScalarNode) and node.value in ("~", "null"))


def find_last_line(node: yaml.Node) -> int:
    """Return the number of a node's last line. The end of a block is where the next thing begins, past comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return find_last_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return int(mark.line - 1 if mark.column == 0 and mark.line > node.start_mark.line else mark.line)


def _render(entry: Mapping[str, Any], indent: int) -> list[str]:
    text = yaml.safe_dump([dict(entry)], sort_keys=False, allow_unicode=True, width=_WIDTH)
    return [f"{' ' * indent}{line}" for line in text.splitlines(keepends=True)]


def _checked(new: str, old: str, variable: str, change: Change) -> str:
    """Return the new text, if it means what the change of the old one does."""
    before = yaml.safe_load(old) or {}
    wanted = {**before, variable: change(before.get(variable) or [])}
    try:
        actual = yaml.safe_load(new)
    except yaml.YAMLError as error:
        raise EditError(f"the change would break it: {error}") from error
    if actual != wanted:
        raise EditError("the change would mean something else")
    return new
