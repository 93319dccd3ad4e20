# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure which parts of a file are in memory, and read those that are not.

Nothing is locked: the kernel frees these pages first when programs need the memory, and a host never swaps because of
them. mlock(2), which ``vmtouch -l`` uses, would let it swap.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Callable, Iterator

#: What is mapped and measured at once, and what is read at once: both a multiple of any page. Reads are plain ones:
#: what the kernel reads ahead for POSIX_FADV_WILLNEED lies in single pages, which a program maps ten times as slowly
#: (``bench/model_cache.py``).
WINDOW_BYTES = 256 * 1024 * 1024
BLOCK_BYTES = 1024 * 1024
_PAGE_BYTES = mmap.PAGESIZE
#: Only the lowest bit of each byte is defined (mincore(2)).
_LOWEST_BIT = bytes(value & 1 for value in range(256))

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


def open_file(path: str) -> int:
    """Open a file whose pages this account may measure. Return its descriptor.

    Raises:
        OSError: it is missing, is no file, or belongs to another account. mincore(2) answers the owner of a file and
            accounts that may write to it, and reports to all others that everything is in memory (Linux 5.2).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "this is no file", path)
        if status.st_uid != os.geteuid() and not os.access(path, os.W_OK):
            raise OSError(
                errno.EPERM,
                "the kernel shows only its owner, and accounts that may write to it, what of it is in memory. Give it "
                "to the account that owns the share, with chown on the storage server",
                path,
            )
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def count_resident(descriptor: int, size: int) -> int:
    """Return how many bytes of a file are in memory.

    Args:
        descriptor: from :func:`open_file`.
        size: the file's, in bytes.
    """
    return sum(
        min(pages.count(1) * _PAGE_BYTES, WINDOW_BYTES, size - start) for start, pages in _windows(descriptor, size)
    )


def read_missing(descriptor: int, size: int, report: Callable[[int], None] = lambda _: None) -> int:
    """Read the blocks of a file that are not in memory, from its begin to its end. Return the bytes that were read.

    What the kernel reads ahead over the end of a window is not counted.

    Args:
        descriptor: from :func:`open_file`.
        size: the file's, in bytes.
        report: gets the bytes that were read so far.

    Raises:
        OSError: it cannot be read, or became shorter.
    """
    count = 0
    buffer = bytearray(BLOCK_BYTES)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    for start, pages in _windows(descriptor, size):
        if 0 not in pages:
            continue
        for offset in range(start, min(start + WINDOW_BYTES, size), BLOCK_BYTES):
            # Also a block that is in memory: a gap would end the kernel's reading ahead.
            received = _read_block(descriptor, buffer, offset, min(BLOCK_BYTES, size - offset))
            first = (offset - start) // _PAGE_BYTES
            count += received if 0 in pages[first : first + BLOCK_BYTES // _PAGE_BYTES] else 0
            report(count)
    return count


def _read_block(descriptor: int, buffer: bytearray, offset: int, length: int) -> int:
    """Read a block to its end. Return its length."""
    received = 0
    while received < length:
        part = os.preadv(descriptor, [memoryview(buffer)[received:length]], offset + received)
        if not part:
            raise OSError(errno.EIO, f"it ended at {offset + received} bytes while it was read")
        received += part
    return received


def _windows(descriptor: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the begin of each window of a file, with one byte for each page of it: 1 for a page that is in memory."""
    for start in range(0, size, WINDOW_BYTES):
        length = min(WINDOW_BYTES, size - start)
        # Not Python's mmap: it shows the address of a writable mapping only, which counts as memory of this process.
        address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, start)
        if address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            pages = ctypes.create_string_buffer(-(-length // _PAGE_BYTES))
            if _libc.mincore(address, length, pages) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            _libc.munmap(address, length)
        yield start, pages.raw.translate(_LOWEST_BIT)
