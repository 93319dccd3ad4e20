# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse ComfyUI's ``extra_model_paths.yaml``, which names directories of models outside ComfyUI. Pure.

The file is a user's, so it is read as data: without tags, and without aliases, of which a few lines can stand for
gigabytes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

#: Keys of a section that name no directory.
_OPTIONS = frozenset({"base_path", "is_default"})


@dataclass(frozen=True)
class ModelPath:
    """A directory of models; ``folder`` is ComfyUI's name for the kind of model, like ``checkpoints``."""

    folder: str
    path: str


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def parse_model_paths(text: str, directory: str) -> list[ModelPath]:
    """Return the directories that the file names, each once, in the file's order.

    Args:
        text: the file's text.
        directory: the directory of the file, from which relative paths start. ``~`` and variables stay as they are.

    Raises:
        ValueError: it is not a mapping of sections.
    """
    try:
        sections = yaml.load(text, _PlainLoader)  # noqa: S506  # a subclass of SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if sections is None:
        return []
    if not isinstance(sections, dict):
        raise ValueError("it has no sections")
    return list(dict.fromkeys(path for section in sections.values() for path in _read_section(section, directory)))


def _read_section(section: object, directory: str) -> Iterator[ModelPath]:
    if not isinstance(section, dict):
        return
    base = str(section.get("base_path") or "")
    start = base if base.startswith(("~", "$")) else posixpath.join(directory, base)
    for folder, value in section.items():
        if folder in _OPTIONS or not isinstance(value, str):
            continue
        for line in filter(None, (line.strip() for line in value.splitlines())):
            yield ModelPath(str(folder), posixpath.normpath(posixpath.join(start, line)))
