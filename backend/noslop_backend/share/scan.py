# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the share by directory descriptors: no link is followed, and each file is looked at once.

A walk gives pieces of a directory, so that a directory of a million files is never held as a whole. Names of `litter`
are passed over everywhere.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from noslop_backend.core.errors import BackendError, ShareUnavailableError
from noslop_backend.share import hidden_dirs, layout
from noslop_backend.share.directories import DIRECTORY_FLAGS
from noslop_backend.share.litter import Litter
from noslop_backend.share.os_errors import translate_os_errors
from noslop_backend.share.share import Share

PIECE = 1000
#: Every directory that holds files, the visible ones first, then the same in the trash.
VISIBLE = tuple(layout.DIRECTORY.values())
PLACES = (*VISIBLE, *(layout.trash(directory) for directory in VISIBLE))
_TOP_NAMES = {name.split("/")[0] for name in layout.DIRECTORIES} | {layout.METADATA}
_ROOT_NAMES = frozenset({layout.MARKER, *hidden_dirs.NAMES})
_METADATA_LIMIT_BYTES = 64 * 1024 * 1024
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DEFAULT = Litter()


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

    `misplaced` are names of links, directories and devices there, and of files whose names are not UTF-8.
    """

    entries: list[Entry]
    misplaced: list[str]


class RootKind(StrEnum):
    """What a name at the top of the share is."""

    FOLDER = "folder"
    FILE = "file"
    LINK = "link"
    OTHER = "special file"


class RootEntry(NamedTuple):
    """A name at the top of the share; `project_id` is what the metadata.json in a folder names, or empty."""

    name: str
    kind: RootKind
    project_id: str


def pieces(
    share: Share, project_id: str, directory: str, size: int = PIECE, litter: Litter = _DEFAULT
) -> Iterator[Piece]:
    """List the files of one of `PLACES` in whatever order the file system has; nothing when the directory is not there.

    Raises:
        ShareUnavailableError: the listing failed, so nothing can be said about what is there.
    """
    try:
        with share.directory(project_id, *directory.split("/")) as descriptor:
            yield from _pieces(descriptor, size, litter)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ShareUnavailableError(
            f"Listing {project_id}/{directory} failed: {error.strerror}. Nothing that this run read there was kept. "
            "See that the share answers, then run it again."
        ) from error


def _pieces(descriptor: int, size: int, litter: Litter) -> Iterator[Piece]:
    # The one place where a million files pass: what is written out here, as fast as Python goes. Names first and then
    # stat(2) by name is faster than DirEntry.stat, and the places of a stat_result are faster than its attributes.
    # What is left is mostly the kernel's part of stat(2).
    make, status_of, mode_of, regular, pass_over = tuple.__new__, os.stat, stat.S_IFMT, stat.S_IFREG, litter.match
    with os.scandir(descriptor) as listing:
        while names := [entry.name for entry in islice(listing, size)]:
            entries: list[Entry] = []
            others: list[str] = []
            for name in names:
                if pass_over(name) and litter.matches(name):
                    continue
                try:
                    status = status_of(name, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    # Removed since it was listed: as if it had gone before.
                    continue
                if mode_of(status[0]) != regular:
                    others.append(_printable(name))
                elif not name.isascii() and (shown := _printable(name)) != name:
                    others.append(shown)
                else:
                    entries.append(make(Entry, (name, status[6], status.st_mtime_ns, status[1], status[3])))
            yield Piece(entries, others)


def _printable(name: str) -> str:
    """Return a name as it can be printed and kept: bytes that are no UTF-8 (surrogates, PEP 383) as numbers."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def misplaced(share: Share, project_id: str, litter: Litter = _DEFAULT) -> list[str]:
    """List names in the directories above those of files that the layout has no place for, as paths in the project.

    Raises:
        ShareUnavailableError: the listing failed.
    """
    names = [name for name in _names(share, project_id, "", litter) if name not in _TOP_NAMES]
    for above in (
        "generated",
        "intermediate",
        layout.TRASH,
        f"{layout.TRASH}/generated",
        f"{layout.TRASH}/intermediate",
    ):
        prefix = f"{above}/"
        placed = {place.removeprefix(prefix).split("/")[0] for place in PLACES if place.startswith(prefix)}
        names += [prefix + name for name in _names(share, project_id, above, litter) if name not in placed]
    return names


def _names(share: Share, project_id: str, directory: str, litter: Litter) -> list[str]:
    try:
        with share.directory(project_id, *(directory.split("/") if directory else ())) as descriptor:
            return sorted(_printable(name) for name in os.listdir(descriptor) if not litter.matches(name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ShareUnavailableError(
            f"Listing {project_id}/{directory} failed: {error.strerror}. See that the share answers, then run it again."
        ) from error


def root_names(share: Share, litter: Litter = _DEFAULT) -> list[str]:
    """List the names at the top of the share but for litter and the backend's own hidden ones, sorted.

    Raises:
        ShareUnavailableError: the listing failed.
    """
    with translate_os_errors("listing the top of the share"):
        return sorted(
            name for name in os.listdir(share.descriptor) if name not in _ROOT_NAMES and not litter.matches(name)
        )


def root_entry(share: Share, name: str) -> RootEntry | None:
    """Return what a name at the top of the share is; None when it is gone. No link is followed."""
    with translate_os_errors(f"looking at {_printable(name)}"):
        try:
            mode = os.stat(name, dir_fd=share.descriptor, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None
    if stat.S_ISDIR(mode):
        return RootEntry(_printable(name), RootKind.FOLDER, _project_of(share, name))
    kind = RootKind.LINK if stat.S_ISLNK(mode) else RootKind.FILE if stat.S_ISREG(mode) else RootKind.OTHER
    return RootEntry(_printable(name), kind, "")


def _project_of(share: Share, name: str) -> str:
    """Return the project's id in the metadata.json of a folder, which may have any name; empty when there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError, BackendError):
        directory = os.open(name, DIRECTORY_FLAGS, dir_fd=share.descriptor)
        try:
            descriptor = os.open(layout.METADATA, _FILE, dir_fd=directory)
        finally:
            os.close(directory)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _METADATA_LIMIT_BYTES:
                return ""
            project_id = json.loads(stream.read(_METADATA_LIMIT_BYTES))["project"]["id"]
            if isinstance(project_id, str) and layout.is_project_id(project_id):
                return project_id
    return ""
