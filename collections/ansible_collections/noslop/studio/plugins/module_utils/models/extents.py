# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let two files share their extents, where the file system can: Btrfs, and XFS with reflinks.

The kernel compares the bytes itself while it keeps both from changing (ioctl_fideduperange(2)), so nothing that another
program does meanwhile can put wrong bytes into a file. The files stay two: each has its owner, mode and times.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

#: linux/fs.h: FIDEDUPERANGE, and FILE_DEDUPE_RANGE_DIFFERS.
_DEDUPE = 0xC0189436
_DIFFERS = 1
_DEDUPE_RANGE = struct.Struct("=QQHHIqQQiI")
#: The longest range of one call: what Btrfs compares at once.
_RANGE_BYTES = 16 * 1024 * 1024
#: linux/fiemap.h: FS_IOC_FIEMAP, FIEMAP_FLAG_SYNC, FIEMAP_EXTENT_LAST, and flags of extents without a place.
_FIEMAP = 0xC020660B
_SYNC = 1
_LAST = 1
_NO_PLACE = 0x2 | 0x4 | 0x200 | 0x400
_HEAD = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQ16xI12x")
_EXTENTS = 512
#: What may differ of two files that share their extents: the last block, which older kernels leave apart.
TAIL_BYTES = 64 * 1024
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS)


class NotSupported(OSError):  # noqa: N818  # an OSError by kind, and no mistake
    """These two files cannot share extents: another file system, or one that cannot do it."""


class Different(OSError):  # noqa: N818  # an OSError by kind, and no mistake
    """The kernel compared two files, and they differ."""


@dataclass(frozen=True)
class Extent:
    """A range of a file, and where it lies on the disk; all in bytes."""

    logical: int
    physical: int
    length: int


def can_share(source: int, target: int) -> bool:
    """Return whether two open files can share extents, without changing anything."""
    try:
        # No file system shares a range that begins within a block. One that could answers EINVAL.
        _dedupe(source, target, 1, 1)
    except NotSupported:
        return False
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return True


def share(source: int, target: int, size: int) -> None:
    """Let the open file ``target`` share all extents of ``source``.

    Args:
        source: a descriptor for reading.
        target: a descriptor for reading, of a file that the account of this process owns.
        size: the size of both in bytes.

    Raises:
        NotSupported: they cannot.
        Different: they differ. What is equal in them may be shared now.
        OSError: the disk fails.
    """
    offset = 0
    while offset < size:
        done = _dedupe(source, target, offset, min(_RANGE_BYTES, size - offset))
        if not done:
            break  # the rest is shorter than a block
        offset += done


def _dedupe(source: int, target: int, offset: int, length: int) -> int:
    """Share one range. Return the bytes that were shared."""
    request = bytearray(_DEDUPE_RANGE.pack(offset, length, 1, 0, 0, target, offset, 0, 0, 0))
    try:
        fcntl.ioctl(source, _DEDUPE, request)
    except OSError as error:
        raise _make_error(error.errno or errno.EIO) from error
    *__, shared, status, ___ = _DEDUPE_RANGE.unpack(request)
    if status == _DIFFERS:
        raise Different(errno.EINVAL, "they differ")
    if status < 0:
        raise _make_error(-status)
    return int(shared)


def _make_error(number: int) -> OSError:
    kind = NotSupported if number in (*_UNSUPPORTED, errno.EXDEV) else OSError
    return kind(number, os.strerror(number))


def read_extents(descriptor: int) -> list[Extent]:
    """Return where an open file lies on the disk, each range as long as it can be; empty where that cannot be told."""
    extents: list[Extent] = []
    start = 0
    while True:
        request = bytearray(
            _HEAD.pack(start, 2**64 - 1 - start, _SYNC, 0, _EXTENTS, 0) + bytes(_EXTENTS * _EXTENT.size)
        )
        try:
            fcntl.ioctl(descriptor, _FIEMAP, request)
        except OSError as error:
            if error.errno in (*_UNSUPPORTED, errno.EINVAL):
                return []
            raise
        count = _HEAD.unpack_from(request)[3]
        for number in range(count):
            logical, physical, length, flags = _EXTENT.unpack_from(request, _HEAD.size + number * _EXTENT.size)
            start = logical + length
            if flags & _NO_PLACE:
                return []
            last = extents[-1] if extents else Extent(0, 0, 0)
            if last.length and (last.logical + last.length, last.physical + last.length) == (logical, physical):
                extents[-1] = Extent(last.logical, last.physical, last.length + length)
            else:
                extents.append(Extent(logical, physical, length))
            if flags & _LAST:
                return extents
        if not count:
            return extents


def are_shared(source: Iterable[Extent], target: Iterable[Extent]) -> bool:
    """Return whether a file has all its bytes where another one has them, but for its last block.

    Args:
        source: the extents of one file, in the order of the file.
        target: those of the other.
    """
    places, own = list(source), list(target)
    left = sum(extent.length for extent in own)
    if not places or not own:
        return False
    one = other = 0
    while one < len(places) and other < len(own):
        first, second = places[one], own[other]
        start = max(first.logical, second.logical)
        end = min(first.logical + first.length, second.logical + second.length)
        if first.physical - first.logical == second.physical - second.logical:
            left -= max(0, end - start)
        if first.logical + first.length == end:
            one += 1
        else:
            other += 1
    return left < TAIL_BYTES


def count_bytes(files: Iterable[Iterable[Extent]]) -> int:
    """Return the bytes that files of one file system have on the disk together, shared ones once."""
    ranges = sorted((extent.physical, extent.physical + extent.length) for file in files for extent in file)
    total = end = 0
    for start, stop in ranges:
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total
