# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the commands of a document that shows a terminal, with what they print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Step:
    """A command after `$ ` and the lines that it prints, where `...` stands for any text."""

    command: str
    output: list[str] = field(default_factory=list)

    def is_printed(self, text: str) -> bool:
        """Return whether the lines are printed, in this order; others may stand between them."""
        patterns = [".*".join(re.escape(part) for part in line.split("...")) for line in self.output]
        return re.search(".*".join(patterns), text, re.DOTALL) is not None


def read_steps(document: str) -> list[Step]:
    """Return the commands of the first block of a document that shows a terminal."""
    return _read_block(next(_find_blocks(document)))


def read_all_steps(document: str) -> list[Step]:
    """Return the commands of all blocks of a document that show a terminal, in order."""
    return [step for block in _find_blocks(document) for step in _read_block(block)]


def _find_blocks(document: str) -> Iterator[str]:
    for match in re.finditer(r"^```console\n(.*?)^```", document, re.MULTILINE | re.DOTALL):
        yield match[1]


def _read_block(block: str) -> list[Step]:
    steps: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ ")))
        else:
            steps[-1].output.append(line)
    return steps
