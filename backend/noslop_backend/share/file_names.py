# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make names that a file can be saved under on any system, of the names that users gave. Pure.

Used where a file leaves the studio. On the share itself files have the names of `layout`.
"""

from __future__ import annotations

import re
import unicodedata

from anyascii import anyascii

from noslop_backend.share.layout import split_extension

#: Of one name: what ext4, XFS, NTFS, APFS and NFS take.
NAME_LIMIT_BYTES = 255
#: Directories on any system, what Windows refuses, and controls.
_REFUSED = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\\/:*?"<>|]')
#: They change the order in which letters are shown: `\u202egnp.exe` looks like `exe.png`.
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
#: What a quoted string of a header can have that no client reads as anything else: not `%`, which some decode.
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 !#$&'()+,.@^_`{}~\[\]-]")
#: Names of devices on Windows, with any extension.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
_JOINER = "\u200d"


def portable_name(name: str, extension: str, mark: str = "") -> str:
    """Return the name to save a file under: what the user typed, with its own spelling of the extension if it has one.

    Args:
        name: as the user typed it.
        extension: of the file's path, without the dot; added where the name does not say it.
        mark: what stands between the name and its extension, whatever is cut of the name. It is portable itself.

    Returns:
        At most 255 bytes in UTF-8. It leads nowhere, is not hidden, and is no device on Windows.
    """
    return _portable(unicodedata.normalize("NFC", name), extension, mark)


def ascii_name(name: str, extension: str) -> str:
    """Return `portable_name` in ASCII letters, for clients that read no others: of other scripts transliterated."""
    return _NOT_PLAIN.sub("_", _portable(anyascii(name), extension))


class DistinctPaths:
    """Paths for files that are kept together, no two of which are one file on any system."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        #: The last number that was given, by the path of the first file of the name.
        self._numbers: dict[str, int] = {}

    def allocate(self, folder: str, name: str, extension: str, mark: str = "") -> str:
        """Return a path that was not returned before: `name.png` in a folder, and then `name (2).png`.

        Args:
            folder: a path of plain names.
            name: as the user typed it.
            extension: of the file's path, without the dot.
            mark: what stands between the name and its extension, as in `portable_name`.
        """
        first = _fold(f"{folder}/{portable_name(name, extension, mark)}")
        number = self._numbers.get(first, 0)
        while True:
            number += 1
            path = f"{folder}/{portable_name(name, extension, mark if number == 1 else f'{mark} ({number})')}"
            if (key := _fold(path)) not in self._used:
                self._used.add(key)
                self._numbers[first] = number
                return path


def _fold(path: str) -> str:
    """Return what systems that tell no case and no composition of letters apart (Windows, macOS) compare."""
    return unicodedata.normalize("NFC", path.casefold())


def _portable(name: str, extension: str, mark: str = "") -> str:
    stem, ending = split_extension(_REFUSED.sub("_", _DIRECTION.sub("", name)).rstrip(" ."), extension)
    ending = mark + (ending or f".{extension}")
    stem = _cut(stem.strip(" ."), NAME_LIMIT_BYTES - len(ending.encode())).rstrip(" .") or "file"
    if stem.split(".")[0].rstrip().upper() in _DEVICES:
        stem = f"_{stem}"
    return stem + ending


def _cut(text: str, limit_bytes: int) -> str:
    """Cut a text at a character, with the marks that belong to it."""
    # One byte is left for what goes in front of a device's name.
    kept = text.encode()[: limit_bytes - 1].decode("utf-8", "ignore")
    while kept and len(kept) < len(text) and _continues(kept[-1], text[len(kept)]):
        kept = kept[:-1]
    return kept


def _continues(last: str, following: str) -> bool:
    return _JOINER in {last, following} or unicodedata.category(following) in {"Mn", "Me"}
