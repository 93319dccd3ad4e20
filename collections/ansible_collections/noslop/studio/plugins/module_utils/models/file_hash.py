# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a whole file for its SHA-256."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable

BLOCK_BYTES = 256 * 1024


def read_sha256(
    path: str, report: Callable[[int, int], None] = lambda *_: None, *, keep_in_memory: bool = True
) -> tuple[str, int]:
    """Read a file. Return its SHA-256 and its size.

    Args:
        path: the file. Anything else than a file is refused: a pipe would never end.
        report: gets the bytes so far, and the file's size.
        keep_in_memory: false lets the kernel forget what was read, so that it displaces nothing that programs use.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "this is no file")
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            if not keep_in_memory:
                # From the begin: the kernel keeps what it read together until all of it is named.
                os.posix_fadvise(stream.fileno(), 0, stream.tell(), os.POSIX_FADV_DONTNEED)
            report(stream.tell(), status.st_size)
        return digest.hexdigest(), stream.tell()
