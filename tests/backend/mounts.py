# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real file systems for tests, mounted as root can: small ones that fill up, and whatever else mount(2) takes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MNT_DETACH = 2


@contextmanager
def mounted(kind: str, path: Path, options: str) -> Iterator[None]:
    """Mount a file system over a directory until the end of the block. Needs root, as mount(2) does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), bytes(path), kind.encode(), 0, options.encode()):
        error = ctypes.get_errno()
        raise OSError(error, f"mounting over {path}: {os.strerror(error)}")
    try:
        yield
    finally:
        libc.umount2(bytes(path), _MNT_DETACH)


@contextmanager
def small(path: Path, *, blocks: int = 1000, inodes: int = 300) -> Iterator[None]:
    """Mount a file system of so many blocks (of a page each) and names: on tmpfs each link counts as one."""
    path.mkdir(exist_ok=True)
    with mounted("tmpfs", path, f"nr_blocks={blocks},nr_inodes={inodes}"):
        yield


@contextmanager
def full(path: Path, *, blocks: int | None = None, inodes: int | None = None) -> Iterator[None]:
    """Let only so many blocks, or names, of a small file system be free until the end of the block."""
    ballast = path / ".ballast"
    ballast.mkdir()
    try:
        if blocks is not None:
            with (ballast / "blocks").open("wb") as stream:
                found = os.statvfs(path)
                if found.f_bavail > blocks:
                    os.posix_fallocate(stream.fileno(), 0, (found.f_bavail - blocks) * found.f_bsize)
        if inodes is not None:
            for number in range(os.statvfs(path).f_favail - inodes):
                (ballast / f"{number}").touch()
        yield
    finally:
        for file in ballast.iterdir():
            file.unlink()
        ballast.rmdir()
