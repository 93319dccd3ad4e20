# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Version directories: a program's files appear under a version's name whole or not at all.

A directory is filled under a temporary name beside its place, written to disk and renamed. A stamp in it says what it
was made from, so that the next run knows without asking anybody.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

STAMP = ".noslop-release.json"
_PART = ".part-"


def read_stamp(directory: str, name: str = STAMP) -> dict[str, Any] | None:
    """What a version directory was made from; ``None`` when it is not there or not finished."""
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as stream:
            about = json.load(stream)
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def write_stamp(directory: str, about: dict[str, Any], name: str = STAMP) -> None:
    """Write the stamp, so that it is whole when it is there."""
    temporary = os.path.join(directory, name + ".new")
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(about, stream, indent=2, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, os.path.join(directory, name))


@contextlib.contextmanager
def locked(base: str) -> Iterator[None]:
    """Make ``base`` and let nobody else build in it meanwhile."""
    os.makedirs(base, mode=0o755, exist_ok=True)
    descriptor = os.open(os.path.join(base, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _remove_parts(base)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(directory: str) -> Iterator[str]:
    """Give a temporary directory to fill; at the end it takes the place of ``directory``.

    To be used inside :func:`locked`. When the block fails, ``directory`` is as it was.
    """
    base, name = os.path.split(directory)
    part = tempfile.mkdtemp(dir=base, prefix=_PART + name + "-")
    try:
        os.chmod(part, 0o755)  # noqa: S103  # programs are for everybody to run; mkdtemp makes 0700
        yield part
        sync_tree(part)
        if os.path.lexists(directory):
            old = tempfile.mkdtemp(dir=base, prefix=_PART + name + "-")
            os.rename(directory, os.path.join(old, "old"))
        os.rename(part, directory)
        _sync(base)
    finally:
        _remove_parts(base)


def flip(link: str, target: str) -> None:
    """Point a symlink at another target in one step, whatever it pointed at before."""
    temporary = f"{link}.noslop-new"  # always the same: what an interrupted run left is used up by the next
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)


def points_at(link: str, target: str) -> bool:
    """Whether ``link`` is a symlink with exactly this target."""
    return os.path.islink(link) and os.readlink(link) == target


def sync_tree(directory: str) -> None:
    """Write all files below a directory to disk, so that a power cut leaves no empty ones behind a rename."""
    for path, _, files in os.walk(directory):
        for name in files:
            if not os.path.islink(os.path.join(path, name)):
                _sync(os.path.join(path, name))
        _sync(path)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_parts(base: str) -> None:
    for name in os.listdir(base):
        if name.startswith(_PART):
            shutil.rmtree(os.path.join(base, name), ignore_errors=True)
