# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the files of a share again and again, and ask its server as little as possible.

A directory is read again when its time or its inode changed, and once more after that: an entry that was made within
the same tick of the server's clock changes neither.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

#: Directories below each other; links are not followed, so only a damaged file system has more.
MAX_DEPTH = 50
#: Reads of a directory after which its entries are remembered.
_READS = 2
_REPORT_S = 1.0


@dataclass(frozen=True)
class File:
    """A file of a share, of any kind that is no directory. ``size`` is in bytes."""

    path: str
    size: int
    modified_ns: int
    is_regular: bool


@dataclass
class Listing:
    """All directories and files of a share, without hidden ones and downloads of Ollama's that have not ended."""

    directories: list[str] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)


@dataclass
class _Read:
    inode: int
    modified_ns: int
    directories: list[str]
    files: list[File]
    count: int = 1


class ListingReader:
    """Reads a share, and remembers the directories that did not change."""

    def __init__(self, top: str, report: Callable[[], None] = lambda: None) -> None:
        """Start without anything remembered.

        Args:
            top: the share's path.
            report: called at most once in a second while a share is read.
        """
        self.top = top
        self._report, self._reported_s = report, 0.0
        self._remembered: dict[str, _Read] = {}

    def read(self, copied: Collection[str] = ()) -> Listing:
        """Return the share as it is.

        Args:
            copied: paths of files that have a copy: their size and time are always read anew, because a program that
                writes into a file changes those and not its directory's.

        Raises:
            OSError: the share cannot be read. A directory below it that disappears meanwhile is left out.
        """
        listing = Listing()
        remembered: dict[str, _Read] = {}
        self._read(".", 0, listing, remembered)
        for path in copied:
            if path in listing.files:
                try:
                    listing.files[path] = _make_file(path, os.lstat(os.path.join(self.top, path)))
                except FileNotFoundError:
                    del listing.files[path]
        self._remembered = remembered
        return listing

    def _read(self, path: str, depth: int, listing: Listing, remembered: dict[str, _Read]) -> None:
        if time.monotonic() - self._reported_s >= _REPORT_S:
            self._reported_s = time.monotonic()
            self._report()
        full = os.path.join(self.top, path)
        status = os.stat(full, follow_symlinks=False)
        read = self._remembered.get(path)
        if read is None or (read.inode, read.modified_ns) != (status.st_ino, status.st_mtime_ns):
            read = _Read(status.st_ino, status.st_mtime_ns, *_read_directory(full, path))
        elif read.count < _READS:
            read = _Read(status.st_ino, status.st_mtime_ns, *_read_directory(full, path), count=read.count + 1)
        remembered[path] = read
        listing.files.update((file.path, file) for file in read.files)
        for inner in read.directories if depth < MAX_DEPTH else ():
            try:
                self._read(inner, depth + 1, listing, remembered)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            listing.directories.append(inner)


def _read_directory(full: str, path: str) -> tuple[list[str], list[File]]:
    directories, files = [], []
    with os.scandir(full) as entries:
        for entry in entries:
            if entry.name.startswith(".") or "-partial" in entry.name:
                continue
            inner = os.path.normpath(os.path.join(path, entry.name))
            if entry.is_dir(follow_symlinks=False):
                directories.append(inner)
                continue
            try:
                files.append(_make_file(inner, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue
    return sorted(directories), files


def _make_file(path: str, status: os.stat_result) -> File:
    return File(path, status.st_size, status.st_mtime_ns, stat.S_ISREG(status.st_mode))
