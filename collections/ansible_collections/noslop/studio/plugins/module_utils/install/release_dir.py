# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the stamps of version directories, and point links at them. All of them belong to root.

A stamp records what a version directory was made from, so that the next run needs no network to compare.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths

STAMP = ".noslop-release.json"
#: The stamp of a virtual environment.
VENV_STAMP = ".noslop-venv.json"
STAMP_LIMIT_BYTES = 1024 * 1024
CURRENT = "current"
#: The link to the version before ``current``, for going back to it.
PREVIOUS = "previous"
#: Version directories that stay.
KEPT = 3


def read_stamp(directory: str, name: str = STAMP) -> dict[str, Any] | None:
    """Return what a version directory was made from, or ``None`` when it is missing, unfinished or not root's."""
    if not is_roots(directory):
        return None
    try:
        content = json.loads(safe_paths.read_file(os.path.join(directory, name), STAMP_LIMIT_BYTES))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_stamp(directory: str, content: dict[str, Any], name: str = STAMP) -> None:
    """Write the stamp in one step, so that no reader sees half of it."""
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    descriptor = safe_paths.open_directory(directory)
    try:
        safe_paths.write_file(descriptor, name, text.encode(), os.geteuid(), os.getegid(), 0o644)
    finally:
        os.close(descriptor)


def is_roots(path: str) -> bool:
    """Return whether a tree belongs to root. A tree of an earlier version belongs to an account, and is not used."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def make_current(base: str, version: str) -> bool:
    """Point ``current`` at a version and ``previous`` at the one before, and return whether it pointed elsewhere."""
    current = os.path.join(base, CURRENT)
    if points_at(current, version):
        return False
    if os.path.islink(current):
        replace_link(os.path.join(base, PREVIOUS), os.readlink(current))
    replace_link(current, version)
    return True


def replace_link(link: str, target: str) -> None:
    """Point a symlink at another target in one step, whatever it pointed at before."""
    temporary = f"{link}.noslop-new"  # always the same: the next run removes what an interrupted one left
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)


def points_at(link: str, target: str) -> bool:
    """Return whether ``link`` is a symlink with exactly this target."""
    return os.path.islink(link) and os.readlink(link) == target


def measure(directory: str) -> int:
    """Return the bytes of the files below a directory, links not followed; 0 where there is no directory."""
    total = 0
    for path, __, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def sync_tree(directory: str) -> None:
    """Write all files below a directory to disk, so that a power cut leaves no empty ones behind a rename."""
    for path, __, files in os.walk(directory):
        for name in files:
            if not os.path.islink(os.path.join(path, name)):
                sync(os.path.join(path, name))
        sync(path)


def sync(path: str) -> None:
    """Write a file, or the names in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prune(base: str, stamp: str, keep: int = KEPT) -> list[str]:
    """Remove old version directories below ``base``, and return their names.

    The newest ``keep`` stay, and so do those that ``current`` and ``previous`` lead to or that a process runs from.

    Args:
        base: the directory of the version directories.
        stamp: path of the stamp below each. A directory without one is no version directory, and stays.
        keep: number of version directories that stay.
    """
    newest_first = sorted(_versions(base, stamp), reverse=True)
    linked = [os.readlink(link) for link in _links(base)]
    removed = []
    for __, name in newest_first[keep:]:
        path = os.path.join(base, name)
        if name not in linked and not is_in_use(path):
            safe_paths.remove_tree(path)
            removed.append(name)
    return removed


def is_in_use(directory: str) -> bool:
    """Return whether a process has its program, its libraries or its working directory below ``directory``."""
    inside = os.path.realpath(directory) + "/"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/{name}") for name in ("exe", "cwd")]
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as stream:
                mapped = any(f" {inside}" in line for line in stream)
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                words = stream.read(65536).decode(errors="replace").split("\0")
        except OSError:
            continue  # ended meanwhile, or a thread of the kernel
        if mapped or any(f"{path}/".startswith(inside) for path in (*links, *words)):
            return True
    return False


def _versions(base: str, stamp: str) -> list[tuple[int, str]]:
    """Return time and name of each version directory."""
    versions = []
    for name in os.listdir(base) if os.path.isdir(base) else []:
        path = os.path.join(base, name)
        with contextlib.suppress(OSError):
            if not name.startswith(".") and not os.path.islink(path):
                versions.append((os.lstat(os.path.join(path, stamp)).st_mtime_ns, name))
    return versions


def _links(base: str) -> list[str]:
    return [link for name in (CURRENT, PREVIOUS) if os.path.islink(link := os.path.join(base, name))]
