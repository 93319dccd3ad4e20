# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reject JSON that is nested too deeply or has too many values, counted in its bytes before anything parses it.

A byte of JSON can become a hundred bytes of memory (`[],` makes a list), and a parser holds the whole process while it
works. Counting takes milliseconds for what would take a parser seconds and gigabytes.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

#: How deep. Workflows are four or five deep; what is deeper cannot be written again without running out of stack.
LIMIT = 100
#: Objects and arrays. A node of a workflow has some five.
CONTAINERS_LIMIT = 250_000
#: Values of all kinds for each of those, keys among them.
VALUES_EACH = 4

#: For what is kept as it is and never written again by us: as deep as Python's parser goes.
PARSED_DEPTH_LIMIT = 900

#: Texts above this are parsed one at a time: a parser lets nothing else in this process run.
LARGE_BYTES = 1024 * 1024
_LARGE = threading.Lock()

#: Everything that is neither a bracket nor stands between two values.
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b"[]{},:")
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


#: First bytes of texts in other encodings, the longer ones first.
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class TooLargeError(ValueError):
    """JSON that is not parsed: it is nested too deeply, or has too many values. The text says which."""


def check(text: bytes, depth: int = LIMIT, containers: int = CONTAINERS_LIMIT) -> None:
    """Count what a JSON text in UTF-8 will become. It need not be well-formed.

    Raises:
        TooLargeError: it is nested deeper than `depth`, or has more objects and arrays than `containers`, or more
            than `VALUES_EACH` values for each of those.
    """
    most_values = VALUES_EACH * containers
    # As if all brackets and commas stood outside of strings: what is few then is few indeed.
    openers = text.count(b"[") + text.count(b"{")
    if openers <= min(depth, containers) and openers + text.count(b",") + text.count(b":") <= most_values:
        return
    # Escaped backslashes first, then escaped quotes: then every quote begins or ends a string.
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * most_values:
        raise TooLargeError(f"it has more than {most_values} texts")
    structure = b"".join(plain.split(b'"')[::2]).translate(None, _NO_STRUCTURE)
    openers = structure.count(b"[") + structure.count(b"{")
    if openers > containers:
        raise TooLargeError(f"it has {openers} objects and arrays, at most {containers} are taken")
    values = openers + structure.count(b",") + structure.count(b":")
    if values > most_values:
        raise TooLargeError(f"it has {values} values, at most {most_values} are taken")
    steps = map(_STEPS.__getitem__, structure.translate(None, b",:"))
    if max(itertools.accumulate(steps), default=0) > depth:
        raise TooLargeError(f"it is nested too deeply (more than {depth} levels)")


def loads(
    text: bytes | str,
    *,
    depth: int = LIMIT,
    containers: int = CONTAINERS_LIMIT,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:  # noqa: ANN401 - any JSON
    """Parse JSON in UTF-8 that is no larger than `check` allows.

    Raises:
        ValueError: it is no JSON, not in UTF-8, or too large (`TooLargeError`).
    """
    check(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"), depth, containers)
    with _LARGE if len(text) > LARGE_BYTES else contextlib.nullcontext():
        return _parsed(text, parse_constant)


def _parsed(text: bytes | str, parse_constant: Callable[[str], Any] | None) -> Any:  # noqa: ANN401 - any JSON
    try:
        # RFC 8259, 8.1. From bytes Python would guess, and take UTF-16 too.
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text, parse_constant=parse_constant)
    except RecursionError as error:
        raise TooLargeError("it is nested too deeply") from error


def describe_encoding(text: bytes) -> str:
    """Return in half a sentence what a text is that is no UTF-8, and what to do about it."""
    marked = [name for marks, name in _ENCODINGS if text.startswith(marks)]
    # JSON and prompts begin with an ASCII character, so one byte of two is zero in UTF-16 without a mark.
    guess = "UTF-16" if b"\0" in text[:4] else "neither UTF-8 nor marked as another encoding"
    name = marked[0] if marked else guess
    return f"it is {name}; save it as UTF-8 (in PowerShell: Set-Content -Encoding utf8) and send it again"


def is_too_deep(value: Any) -> bool:  # noqa: ANN401 - any JSON
    """Return whether a value is nested deeper than `LIMIT`, without recursion of our own."""
    level: list[Any] = [value]
    for _ in range(LIMIT):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list | tuple):
                below += one
        if not below:
            return False
        level = below
    return True
