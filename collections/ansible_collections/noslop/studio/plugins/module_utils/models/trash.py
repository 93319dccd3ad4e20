# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move files of a share to its trash and back, and remove from the trash what is old.

The trash lies below the share, in ``.noslop-trash``, where no program lists it: one directory for each removal, named
by its time. A file keeps its path below that. Runs as the account that owns the share, and never follows a link.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import math
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.share import no_replace

DIRECTORY = ".noslop-trash"
_TIME = "%Y%m%dT%H%M%SZ"
_REMOVAL = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z(-\d+)?")
#: The mode of directories on a share of models (roles/share_directories): people of the studio may write.
_DIRECTORY_MODE = 0o2775


class TrashError(Exception):
    """A file cannot be moved. The message is for the user who has to repair it."""


@dataclass(frozen=True)
class Trashed:
    """A file in the trash: its path below the share, its size in bytes, and when it was moved, in UTC (ISO 8601)."""

    path: str
    size: int
    removed: str
    removal: str


def move(share: str, paths: list[str], now_s: float) -> list[Trashed]:
    """Move files to the trash, all in one removal.

    Args:
        share: path of the share.
        paths: of regular files, below it.
        now_s: the time, in seconds since 1970.

    Raises:
        TrashError: one of them is no regular file. Those before it are moved.
        OSError: one of them is missing, or the share cannot be written to.
    """
    if not paths:
        return []
    removal = _make_removal(share, now_s)
    return [_move_one(share, path, removal) for path in paths]


def restore(share: str, path: str) -> Trashed:
    """Move a file back from the trash: the one that was removed last.

    Raises:
        TrashError: it is not in the trash, or another file has its name meanwhile, which is not touched.
    """
    trashed = [one for one in list_all(share) if one.path == path]
    if not trashed:
        raise TrashError(f"{path} is not in the trash of {share}.")
    newest = max(trashed, key=lambda one: one.removal)
    source, target = os.path.join(share, DIRECTORY, newest.removal, path), os.path.join(share, path)
    os.makedirs(os.path.dirname(target), mode=_DIRECTORY_MODE, exist_ok=True)
    with _open_parent(source) as (from_fd, name), _open_parent(target) as (to_fd, __):
        try:
            has_both = no_replace.link_or_rename(name, name, from_fd, to_fd)
        except FileExistsError:
            has_both = True
            # A run that was ended after the link has left both names.
            if not os.path.samefile(source, target):
                raise TrashError(
                    f"{path} is there already, and was not touched. Move it away, then restore the other one: it is "
                    f"still in the trash, {source}"
                ) from None
        if has_both:
            os.unlink(name, dir_fd=from_fd)
    _remove_empty(os.path.join(share, DIRECTORY, newest.removal))
    return newest


def purge(share: str, before_s: float) -> list[Trashed]:
    """Remove for good what came to the trash before a time, and return it."""
    old = list_old(share, before_s)
    for removal in sorted({one.removal for one in old}):
        safe_paths.remove_tree(os.path.join(share, DIRECTORY, removal))
    return old


def list_old(share: str, before_s: float) -> list[Trashed]:
    """Return what came to the trash before a time, in seconds since 1970."""
    return [one for one in list_all(share) if parse_time(one.removal) < before_s]


def list_all(share: str) -> list[Trashed]:
    """Return all files in the trash, the oldest first."""
    top = os.path.join(share, DIRECTORY)
    try:
        removals = sorted(name for name in os.listdir(top) if _REMOVAL.fullmatch(name))
    except FileNotFoundError:
        return []
    return [one for removal in removals for one in _list_removal(top, removal)]


def parse_time(removal: str) -> float:
    """Return when a removal was made, in seconds since 1970."""
    match = _REMOVAL.fullmatch(removal)
    # Not strptime: it imports a module that this account may not be able to read.
    return float(calendar.timegm(tuple(int(part) for part in match.groups()[:6]))) if match else math.inf


def _list_removal(top: str, removal: str) -> Iterator[Trashed]:
    base = os.path.join(top, removal)
    removed = _format_time(removal)
    for directory, directories, names in os.walk(base):
        directories.sort()
        for name in sorted(names):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                yield Trashed(os.path.relpath(path, base), status.st_size, removed, removal)


def _make_removal(share: str, now_s: float) -> str:
    """Make the directory of a removal, which no other one has, and return its name."""
    top = os.path.join(share, DIRECTORY)
    os.makedirs(top, mode=0o700, exist_ok=True)
    base = time.strftime(_TIME, time.gmtime(now_s))
    number = 0
    while True:
        removal = f"{base}-{number}" if number else base
        try:
            os.mkdir(os.path.join(top, removal), 0o700)
        except FileExistsError:
            number += 1
        else:
            return removal


def _move_one(share: str, path: str, removal: str) -> Trashed:
    source, target = os.path.join(share, path), os.path.join(share, DIRECTORY, removal, path)
    with _open_parent(source) as (from_fd, name):
        status = os.stat(name, dir_fd=from_fd, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise TrashError(f"{source} is no file but a link or something else, and was not touched. Look at it.")
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        with _open_parent(target) as (to_fd, __):
            # The directory is of this removal alone, so nothing there can be replaced.
            os.rename(name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
            os.fsync(to_fd)
        os.fsync(from_fd)
    return Trashed(path, status.st_size, _format_time(removal), removal)


def _format_time(removal: str) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(parse_time(removal)))


@contextlib.contextmanager
def _open_parent(path: str) -> Iterator[tuple[int, str]]:
    """Open the directory of a path without following links that another account could have put there."""
    directory, name = os.path.split(path)
    descriptor = safe_paths.open_directory(directory)
    try:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    try:
        yield readable, name
    finally:
        os.close(readable)


def _remove_empty(base: str) -> None:
    """Remove those directories of a removal that have become empty, and no other ones."""
    for directory, __, ___ in os.walk(base, topdown=False):
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
