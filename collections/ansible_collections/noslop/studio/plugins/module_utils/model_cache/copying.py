# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a file of a share into a cache. It is there under its name when it is whole and has the right content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time

from ansible_collections.noslop.studio.plugins.module_utils.model_cache.layout import CachedShare

BLOCK_BYTES = 4 * 1024 * 1024
#: Bytes after which what was written goes to the disk, and out of memory.
SYNC_BYTES = 64 * 1024 * 1024


class CopyError(Exception):
    """A file was not copied. The message is for the user; ``is_lasting`` is true where another try ends the same."""

    def __init__(self, message: str, *, is_lasting: bool) -> None:
        """Keep the message, and whether another try would end the same."""
        super().__init__(message)
        self.is_lasting = is_lasting


def copy(share: CachedShare, path: str, digest: str, size: int, modified_ns: int) -> None:
    """Copy a file of a share, as the account that owns both. Raises CopyError.

    The copy has the time of the original, by which it is recognized, and the time of this copy as that of its last use.

    Args:
        share: the share and its part of the cache.
        path: the file's, below the share.
        digest: the SHA-256 that it must have.
        size: the size that it had when it was listed, in bytes.
        modified_ns: the time that it had then.
    """
    os.makedirs(share.parts, 0o755, exist_ok=True)
    os.makedirs(share.files, 0o755, exist_ok=True)
    part = os.path.join(share.parts, digest)
    try:
        source = os.open(os.path.join(share.path, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _require_unchanged(source, path, size, modified_ns)
            target = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                actual = _transfer(source, target, size)
                _require_unchanged(source, path, size, modified_ns)
                if actual != digest:
                    raise CopyError(
                        f"{path} has the SHA-256 {actual} on the share, and should have {digest}. It is read from the "
                        "share and not copied. Look at it with: noslop-driver models verify",
                        is_lasting=True,
                    )
                os.fchmod(target, 0o444)
                os.utime(target, ns=(time.time_ns(), modified_ns))
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        os.rename(part, share.locate_copy(digest))
    except (CopyError, OSError) as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError):
            raise CopyError(f"{path}: {error.strerror or error}", is_lasting=False) from error
        raise


def _transfer(source: int, target: int, size: int) -> str:
    """Copy the bytes. Return their SHA-256."""
    if size:
        os.posix_fallocate(target, 0, size)  # a full disk ends it here, and not near the end
    digest = hashlib.sha256()
    offset = synchronized = 0
    while block := os.pread(source, BLOCK_BYTES, offset):
        digest.update(block)
        written = 0
        while written < len(block):
            written += os.pwrite(target, block[written:], offset + written)
        offset += len(block)
        if offset - synchronized >= SYNC_BYTES:
            # What programs have in memory is worth more than what none reads yet.
            os.fdatasync(target)
            os.posix_fadvise(target, 0, offset, os.POSIX_FADV_DONTNEED)
            synchronized = offset
    os.fdatasync(target)
    os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def _require_unchanged(source: int, path: str, size: int, modified_ns: int) -> None:
    status = os.fstat(source)
    if not stat.S_ISREG(status.st_mode):
        raise CopyError(f"{path} is no file any more.", is_lasting=False)
    if (status.st_size, status.st_mtime_ns) != (size, modified_ns):
        raise CopyError(f"{path} changed meanwhile; it is copied when a program opens it again.", is_lasting=False)
