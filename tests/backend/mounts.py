# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real file systems for tests, mounted as root can: small ones that fill up, and whatever else mount(2) takes."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
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


class Passing:
    """A directory seen through a server of its own (bindfs): it can hang, die, and come back, like a share's."""

    def __init__(self, behind: Path, path: Path) -> None:
        self.behind = behind
        self.path = path
        self._server: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        """Run the server; the directory is mounted when this returns."""
        command = ["bindfs", "-f", str(self.behind), str(self.path)]
        self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while not os.path.ismount(self.path):
            assert self._server.poll() is None, "bindfs did not mount (make programs, or Debian: apt install bindfs)"
            select.select([], [], [], 0.01)

    def hang(self) -> None:
        """Let everything wait, descriptors that are open too, as on a hard mount whose server is away."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again; what waited goes on."""
        self._signal(signal.SIGCONT)

    def unmount(self) -> None:
        """Let the server die, and take the mount away: open descriptors are worth nothing from now on."""
        self._signal(signal.SIGKILL)
        ctypes.CDLL(None).umount2(bytes(self.path), _MNT_DETACH)
        assert self._server is not None
        self._server.wait()
        self._server = None

    def _signal(self, number: int) -> None:
        assert self._server is not None
        self._server.send_signal(number)

    @classmethod
    @contextmanager
    def mounted(cls, behind: Path, path: Path) -> Iterator[Passing]:
        """Mount until the end of the block."""
        behind.mkdir()
        path.mkdir()
        passing = cls(behind, path)
        passing.mount()
        try:
            yield passing
        finally:
            if passing._server is not None:
                passing.unmount()


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
