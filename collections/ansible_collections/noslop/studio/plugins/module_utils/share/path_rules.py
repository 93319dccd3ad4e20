# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the paths of shares, and the names systemd gives to their units. Pure: nothing is looked at."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import is_below

#: What exports(5), systemd's units, environment files and a person's shell all read the same way, unquoted.
_PLAIN = re.compile(r"/[A-Za-z0-9@_./+-]*")
_PLAIN_IN_UNIT_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")

#: Directories that the system, or its cleaning at start, needs for itself: nothing of a studio lies in them.
_SYSTEM = re.compile(r"/(bin|boot|dev|etc|lib(32|64|x32)?|proc|root|run|sbin|sys|tmp|usr|var/run|var/tmp)(/.*)?")
#: Directories that many share: something of a studio may lie in them, but no share is one of them.
_COMMON = re.compile(r"/((home(/[^/]+)?|media|mnt|opt|srv|var(/cache|/lib|/lib/noslop|/log)?)?)")


def escape_path(path: str) -> str:
    """Turn a path into the first part of a unit's name, as ``systemd-escape --path`` does (systemd.unit(5))."""
    words = [word for word in path.split("/") if word]
    if not words:
        return "-"
    return "-".join(_escape_word(word, first=index == 0) for index, word in enumerate(words))


def unit_name(path: str, suffix: str) -> str:
    """Name of the unit of the kind ``suffix`` (``mount``, ``automount``) for ``path``."""
    return f"{escape_path(path)}.{suffix}"


def path_problems(root: str, shares: Sequence[Mapping[str, str]]) -> list[str]:
    """Say what is wrong with the paths of a studio.

    Args:
        root: directory that holds the shares which have no place of their own.
        shares: dictionaries with ``name`` and ``path``.

    Returns:
        One sentence for each problem, empty when all paths can be shared.
    """
    problems = _single_path_problems("the storage root", root)
    for share in shares:
        label = f"the share {share['name']}"
        alone = _single_path_problems(label, share["path"])
        problems += alone
        if alone:
            continue
        if is_below(root, share["path"]):
            problems.append(
                f"{label}: {share['path']} is or holds the storage root {root}. "
                "Give the share a directory inside the root, or one outside it."
            )
        problems += [
            f"{label}: {share['path']} lies inside the share {other['name']} ({other['path']}). "
            "Shares are mounted one by one: give each a directory beside the others."
            for other in shares
            if other is not share and is_below(share["path"], other["path"])
        ]
    return problems


def _single_path_problems(label: str, path: str) -> list[str]:
    if not _PLAIN.fullmatch(path) or posixpath.normpath(path) != path:
        return [
            f"{label}: {path!r} cannot be shared. Write an absolute path of letters, digits and . _ - + @, "
            "with neither '..' nor a slash at its end."
        ]
    if _SYSTEM.fullmatch(path):
        return [f"{label}: {path} belongs to the operating system. Choose a directory like /srv/noslop."]
    if _COMMON.fullmatch(path):
        return [f"{label}: {path} is used by others too. Choose a directory of its own inside it."]
    return []


def _escape_word(word: str, first: bool) -> str:
    escaped = []
    for position, character in enumerate(word):
        plain = character in _PLAIN_IN_UNIT_NAME and not (character == "." and first and position == 0)
        escaped.append(character if plain else "".join(f"\\x{byte:02x}" for byte in character.encode()))
    return "".join(escaped)
