# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse values in the entries of lists that users write. Pure."""

from __future__ import annotations

import re
import urllib.parse


def parse_names(value: object, where: str) -> tuple[str, ...]:
    """Return a list of names, each once. Raises ValueError, whose message begins with ``where``."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name for name in value):
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
