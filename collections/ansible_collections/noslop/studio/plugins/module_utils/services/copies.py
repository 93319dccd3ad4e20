# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a service's database and user directory before another version of it changes them.

The directories belong to the service's account, so everything here runs in a worker process as that account.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import urllib.parse
from collections.abc import Iterable

from ansible_collections.noslop.studio.plugins.module_utils.install import release_dir

#: Copies that stay, and databases of earlier versions.
KEPT = 3
_PART = ".part"
_DATABASE_SUFFIXES = ("", "-wal", "-shm")


def copy_database(source: str, target: str) -> bool:
    """Copy a SQLite database that may be in use, unless ``target`` exists. Returns whether it was copied.

    A version of the service that was left keeps its database as it was, so that going back to it needs nothing.
    """
    if os.path.exists(target) or not os.path.exists(source):
        return False
    part = target + _PART
    _remove(part)
    address = f"file:{urllib.parse.quote(source)}?mode=rw"
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(contextlib.closing(sqlite3.connect(address, uri=True)))
        copy = stack.enter_context(contextlib.closing(sqlite3.connect(part)))
        opened.backup(copy)
    os.chmod(part, stat.S_IMODE(os.stat(source).st_mode))
    release_dir.sync(part)
    os.replace(part, target)
    release_dir.sync(os.path.dirname(target))
    return True


def remove_database(path: str) -> None:
    """Remove a SQLite database with its log. Does nothing where it does not exist."""
    for suffix in _DATABASE_SUFFIXES:
        _remove(path + suffix)


def prune_databases(current: str, others: Iterable[str]) -> list[str]:
    """Remove databases of earlier versions, except the newest. Returns the paths of those that were removed.

    Args:
        current: the database that is used; it stays.
        others: paths of all databases of this kind.
    """
    existing = [path for path in others if path != current and os.path.exists(path)]
    existing.sort(key=lambda path: os.stat(path).st_mtime_ns, reverse=True)
    for path in existing[KEPT:]:
        remove_database(path)
    return existing[KEPT:]


def copy_directory(source: str, copies: str, name: str, skipped: Iterable[str]) -> str:
    """Copy a directory to ``copies/name``, in one step, and remove older copies. Returns the path of the copy.

    Files that change meanwhile are copied as they are at that moment. Links are copied as links; sockets and pipes are
    left out.

    Args:
        source: the directory.
        copies: directory of the copies; it is made.
        name: name of the copy. Where it exists, it is the copy that an interrupted run made, and stays.
        skipped: names directly below ``source`` that are left out.
    """
    target = os.path.join(copies, name)
    if os.path.exists(target):
        return target
    left_out = set(skipped)

    def ignore(directory: str, names: list[str]) -> set[str]:
        at_top = left_out & set(names) if directory == source else set()
        return at_top | {one for one in names if not _is_copied(os.path.join(directory, one))}

    os.makedirs(copies, mode=0o750, exist_ok=True)
    part = target + _PART
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, symlinks=True, ignore=ignore)
    os.utime(part)
    os.replace(part, target)
    release_dir.sync(copies)
    paths = [os.path.join(copies, one) for one in os.listdir(copies)]
    paths.sort(key=lambda path: os.lstat(path).st_mtime_ns, reverse=True)
    for path in paths[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
    return target


def _is_copied(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False  # removed meanwhile
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
