# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notice which files of some directories programs on this host open (inotify(7)).

The kernel reports what this host does, which is what counts here; what other hosts do on the share it does not see.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping

_IN_OPEN, _IN_IGNORED, _IN_ISDIR, _IN_ONLYDIR, _IN_DONT_FOLLOW = 0x20, 0x8000, 0x40000000, 0x01000000, 0x02000000
_HEADER = struct.Struct("iIII")
_BUFFER_BYTES = 65536

_libc = ctypes.CDLL(None, use_errno=True)


class OpenEvents:
    """A queue of the files that were opened; ``descriptor`` can be waited on."""

    def __init__(self) -> None:
        """Start without a directory.

        Raises:
            OSError: the kernel has no more of these queues for this account.
        """
        self.descriptor = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._names: dict[int, str] = {}
        self._inodes: dict[str, tuple[int, int]] = {}

    def watch(self, directories: Mapping[str, str]) -> None:
        """Watch these directories, and no other ones. A directory that was mounted or made again is watched anew.

        Args:
            directories: the name of each, for :meth:`read`, with its path. What disappeared is left out.

        Raises:
            OSError: the account may not watch so many (``fs.inotify.max_user_watches``).
        """
        for number in [number for number, name in self._names.items() if name not in directories]:
            _libc.inotify_rm_watch(self.descriptor, number)
            self._forget(number)
        for name, path in directories.items():
            try:
                status = os.stat(path)
            except FileNotFoundError:
                continue
            if self._inodes.get(name) == (status.st_dev, status.st_ino):
                continue
            number = _libc.inotify_add_watch(
                self.descriptor, os.fsencode(path), _IN_OPEN | _IN_ONLYDIR | _IN_DONT_FOLLOW
            )
            self._names[_check(number)] = name
            self._inodes[name] = (status.st_dev, status.st_ino)

    def read(self) -> list[tuple[str, str]]:
        """Return the files that were opened since the last call: the name of the directory, and the file's."""
        opened: dict[tuple[str, str], None] = {}
        while True:
            try:
                data = os.read(self.descriptor, _BUFFER_BYTES)
            except BlockingIOError:
                return list(opened)
            offset = 0
            while offset < len(data):
                number, mask, __, length = _HEADER.unpack_from(data, offset)
                name = data[offset + _HEADER.size : offset + _HEADER.size + length].rstrip(b"\0")
                offset += _HEADER.size + length
                if mask & _IN_IGNORED:  # it was removed or unmounted
                    self._forget(number)
                elif mask & _IN_OPEN and not mask & _IN_ISDIR and number in self._names:
                    opened[self._names[number], os.fsdecode(name)] = None

    def _forget(self, number: int) -> None:
        name = self._names.pop(number, None)
        if name is not None:
            self._inodes.pop(name, None)


def _check(number: int) -> int:
    if number < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return number
