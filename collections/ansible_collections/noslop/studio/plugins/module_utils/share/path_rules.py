# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the paths of shares, and derive the names of their systemd units. Pure: reads no file."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import is_below

#: Characters that exports(5), systemd units, environment files and a shell all read the same way, unquoted.
_PLAIN = re.compile(r"/[A-Za-z0-9@_./+-]*")
_PLAIN_IN_UNIT_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")

#: Directories of the system, or cleaned at its start: nothing of a studio lies in them.
_SYSTEM = re.compile(r"/(bin|boot|dev|etc|lib(32|64|x32)?|proc|root|run|sbin|sys|tmp|usr|var/run|var/tmp)(/.*)?")
#: Common directories: a share may lie in one of them, but cannot be one.
_COMMON = re.compile(r"/((home(/[^/]+)?|media|mnt|opt|srv|var(/cache|/lib|/lib/noslop|/log)?)?)")


def escape_path(path: str) -> str:
    """Turn a path into the first part of a unit's name, as ``systemd-escape --path`` does (systemd.unit(5))."""
    words = [word for word in path.split("/") if word]
    if not words:
        return "-"
    return "-".join(_escape_word(word, first=index == 0) for index, word in enumerate(words))


def make_unit_name(path: str, suffix: str) -> str:
    """Return the name of the unit with the suffix ``suffix`` (``mount``, ``automount``) for ``path``."""
    return f"{escape_path(path)}.{suffix}"


def find_path_problems(root: str, shares: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the problems with the paths of a studio.

    Args:
        root: directory of the shares that have no path of their own.
        shares: dictionaries with ``name`` and ``path``.

    Returns:
        One sentence for each problem, empty when all paths can be shared.
    """
    problems = find_single_path_problems("the storage root", root)
    for share in shares:
        label = f"the share {share['name']}"
        alone = find_single_path_problems(label, share["path"])
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


def find_single_path_problems(label: str, path: str) -> list[str]:
    """Return the problems with one path, as sentences that begin with ``label``."""
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
