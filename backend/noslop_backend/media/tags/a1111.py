# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the `parameters` text of A1111's web UI, which Forge, SD.Next and many nodes write too. Pure.

A prompt of any number of lines, `Negative prompt: ` and more lines, and one line of `Steps: 20, Sampler: Euler a, ...`,
whose values may be in quotes or be JSON, with commas in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_NEGATIVE = "Negative prompt:"
#: `<lora:name:0.8>` or `<lyco:name:0.8:0.6>` in a prompt.
_LORA = re.compile(r"<(?:lora|lyco):([^:<>]{1,300})(?::(-?[0-9.]{1,20}))?(?::(-?[0-9.]{1,20}))?[^<>]{0,100}>")
_PAIR = re.compile(r"\s*([A-Za-z][\w /-]{0,80}):\s*(.*)", re.ASCII | re.DOTALL)
_OPEN, _CLOSE = "[{", "]}"
#: Letters of a text that are looked at.
LIMIT = 1_000_000


@dataclass(frozen=True)
class Parameters:
    """A text of parameters: its parts, and settings by name."""

    prompt: str = ""
    negative: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    #: Name, strength, strength of the text encoder: as text.
    loras: tuple[tuple[str, str, str], ...] = ()


def parse(text: str) -> Parameters | None:
    """Return the parts of a text; None for what has no line of settings or negative prompt."""
    lines = text[:LIMIT].replace("\r\n", "\n").strip().split("\n")
    settings = _settings(lines[-1])
    if "Steps" in settings or len(settings) > 3:
        lines.pop()
    elif not any(line.startswith(_NEGATIVE) for line in lines):
        return None
    else:
        settings = {}
    at = next((number for number, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    prompt = "\n".join(lines[:at]).strip()
    negative = "\n".join(lines[at:]).removeprefix(_NEGATIVE).strip()
    return Parameters(prompt, negative, settings, tuple((a, b, c) for a, b, c in _LORA.findall(prompt)[:100]))


def _settings(line: str) -> dict[str, str]:
    pairs = (_PAIR.fullmatch(part) for part in _split(line))
    return {pair[1]: pair[2].strip().strip('"') for pair in pairs if pair}


def _split(line: str) -> Iterator[str]:
    """Yield the parts between commas that stand outside of quotes and brackets."""
    part: list[str] = []
    depth, in_quotes, is_escaped = 0, False, False
    for letter in line:
        if letter == "," and depth <= 0 and not in_quotes:
            yield "".join(part)
            part = []
            continue
        part.append(letter)
        if is_escaped:
            is_escaped = False
        elif letter == "\\":
            is_escaped = True
        elif letter == '"':
            in_quotes = not in_quotes
        elif not in_quotes:
            depth += (letter in _OPEN) - (letter in _CLOSE)
    yield "".join(part)
