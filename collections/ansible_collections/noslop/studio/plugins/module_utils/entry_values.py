# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse values in the entries of lists that users write. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Collection, Mapping
from typing import Any


def describe_entry(variable: str, number: int, name: str) -> str:
    """Return the begin of a message about an entry: the variable, the entry's number, and its name if it has one."""
    return f"{variable}: entry {number}{f' ({name})' if name else ''}"


def require_declared_keys(
    entry: Mapping[Any, Any], keys: Collection[str], where: str, kind: str, hint: str = ""
) -> None:
    """Raise ValueError, whose message begins with ``where``, where an entry has a key that none of its ``kind`` has.

    Args:
        entry: the entry.
        keys: all keys that it may have.
        where: from :func:`describe_entry`.
        kind: what the entry is, such as ``node``.
        hint: put behind the list of keys.
    """
    unknown = sorted(str(key) for key in entry if key not in keys)
    if unknown:
        raise ValueError(
            f"{where} has the key {unknown[0]}, which no {kind} has. The keys are {', '.join(keys)}{hint}."
        )


def parse_names(value: object, where: str) -> tuple[str, ...]:
    """Return a list of names, each once. Raises ValueError, whose message begins with ``where``."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
        raise ValueError(f"{where} is {value!r}. Write a list of names.")
    return tuple(dict.fromkeys(value))


def parse_flag(value: object, where: str) -> bool:
    """Return a value that is true or false. Raises ValueError, whose message begins with ``where``."""
    if not isinstance(value, bool):
        raise ValueError(f"{where} is {value!r}. Write true or false.")
    return value


def find_address_problem(address: str) -> str:
    """Return why a text is no address of a download, as the end of a sentence about it; empty where it is one."""
    parts = urllib.parse.urlsplit(address)
    if re.search(r"[\s\x00-\x1f\x7f]", address):
        return f"{address!r} has white space in it. Write the address without."
    if parts.username or parts.password:
        return f"of {parts.hostname} has a name or password in it, which every log would show. Write it without."
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return f"{address!r} is no address. Write one that starts with https://."
    return ""
