# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks over a project on the share, by directory descriptors: no link is followed, and each file is looked at once.

A walk gives pieces of a directory, so that a directory of a million files is never held as a whole.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from noslop_backend.core.errors import ShareUnavailableError
from noslop_backend.share import layout
from noslop_backend.share.share import Share

PIECE = 1000
#: Every directory that holds files, the visible ones first, then the same in the trash.
VISIBLE = tuple(layout.DIRECTORY.values())
PLACES = (*VISIBLE, *(layout.trash(directory) for directory in VISIBLE))
#: What NFS makes of a file that was removed while somebody had it open.
_SILLY = ".nfs"
_KNOWN = {name.split("/")[0] for name in layout.DIRECTORIES} | {layout.METADATA}


class Entry(NamedTuple):
    """An ordinary file as it was seen."""

    name: str
    size_bytes: int
    mtime_ns: int
    inode: int
    #: Names that the file has: more than one where a final shares the content of its source.
    links: int


class Piece(NamedTuple):
    """Some entries of one directory.

    `strangers` are names of links, directories and devices there, and of files whose names are not UTF-8.
    """

    entries: list[Entry]
    strangers: list[str]


def pieces(share: Share, project_id: str, directory: str, size: int = PIECE) -> Iterator[Piece]:
    """List the files of one of `PLACES` in whatever order the file system has; nothing when the directory is not there.

    Raises:
        ShareUnavailableError: the listing failed, so nothing can be said about what is there.
    """
    try:
        with share.directory(project_id, *directory.split("/")) as descriptor:
            yield from _pieces(descriptor, size)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ShareUnavailableError(
            f"Listing {project_id}/{directory} failed: {error.strerror}. Nothing is believed of what this run saw "
            "there. "
            "See that the share answers, then run it again."
        ) from error


def _pieces(descriptor: int, size: int) -> Iterator[Piece]:
    make, regular, silly = tuple.__new__, stat.S_IFREG, _SILLY
    with os.scandir(descriptor) as listing:
        for first in listing:
            entries: list[Entry] = []
            others: list[str] = []
            # The one place where a million files pass: what is written out here, as fast as Python goes. Most of what
            # is left is the kernel's part of stat(2).
            for found in chain((first,), islice(listing, size - 1)):
                try:
                    said = found.stat(follow_symlinks=False)
                except FileNotFoundError:
                    # Removed since it was listed: as if it had gone before.
                    continue
                name = found.name
                if stat.S_IFMT(said.st_mode) != regular:
                    others.append(_shown(name))
                elif not name.isascii() and (shown := _shown(name)) != name:
                    others.append(shown)
                elif not name.startswith(silly):
                    entries.append(make(Entry, (name, said.st_size, said.st_mtime_ns, said.st_ino, said.st_nlink)))
            yield Piece(entries, others)


def _shown(name: str) -> str:
    """A name as it can be printed and kept: bytes that are no UTF-8 (surrogates, PEP 383) as numbers."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def strangers(share: Share, project_id: str) -> list[str]:
    """Names in the directories above those of files that the layout has no place for, as paths in the project.

    Raises:
        ShareUnavailableError: the listing failed.
    """
    found = [name for name in _listed(share, project_id, "") if name not in _KNOWN]
    for above in (
        "generated",
        "intermediate",
        layout.TRASH,
        f"{layout.TRASH}/generated",
        f"{layout.TRASH}/intermediate",
    ):
        prefix = f"{above}/"
        known = {place.removeprefix(prefix).split("/")[0] for place in PLACES if place.startswith(prefix)}
        found += [prefix + name for name in _listed(share, project_id, above) if name not in known]
    return found


def _listed(share: Share, project_id: str, directory: str) -> list[str]:
    try:
        with share.directory(project_id, *(directory.split("/") if directory else ())) as descriptor:
            return sorted(_shown(name) for name in os.listdir(descriptor) if not name.startswith(_SILLY))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ShareUnavailableError(
            f"Listing {project_id}/{directory} failed: {error.strerror}. See that the share answers, then run it again."
        ) from error
