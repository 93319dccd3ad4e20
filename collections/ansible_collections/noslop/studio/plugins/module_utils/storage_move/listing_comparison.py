# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the lists of a share on the old and on the new server, and name what differs. Pure but for reading them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

#: Differences that are named.
MOST = 20
_WORDS = {"sha256": "content", "owner": "owner", "mtime_ns": "time", "xattrs": "extended attributes or ACL"}


def find_differences(source: Iterable[bytes], target: Iterable[bytes], most: int = MOST) -> list[str]:
    """Return a sentence for each difference of two lists; at most so many, and the last says that there are more.

    Args:
        source: the lines of the old server's list.
        target: those of the new server's.
        most: the number of sentences.
    """
    differences: list[str] = []
    for text in _compare(_parse(source), _parse(target)):
        if len(differences) == most:
            return [*differences, "And there are more."]
        differences.append(text)
    return differences


def _compare(source: Iterator[dict[str, Any]], target: Iterator[dict[str, Any]]) -> Iterator[str]:
    old, new = next(source, None), next(target, None)
    while old or new:
        if old is not None and (new is None or _key(old) < _key(new)):
            yield f"{_quote(old)} was not copied."
            old = next(source, None)
        elif new is not None and (old is None or _key(new) < _key(old)):
            yield f"{_quote(new)} is on the new server only."
            new = next(target, None)
        elif old is not None and new is not None:
            names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
            if names:
                yield f"{_quote(old)} differs in {', '.join(_WORDS.get(name, name) for name in names)}."
            old, new = next(source, None), next(target, None)


def _parse(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines)


def _key(entry: dict[str, Any]) -> list[bytes]:
    """Return what sorts the entries of a list: a directory comes before what is in it, and that before its siblings."""
    path: str = entry["path"]
    return [part.encode("utf-8", "surrogateescape") for part in path.split("/")] if path else []


def _quote(entry: dict[str, Any]) -> str:
    return ascii(entry["path"]) if entry["path"] else "The top directory"
