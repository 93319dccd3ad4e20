# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translate errors of the operating system about the share into errors that a person can act on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from noslop_backend.core.errors import (
    BackendError,
    QuotaExceededError,
    ShareUnavailableError,
    StorageFullError,
    UnsafePathError,
)

_AWAY = frozenset(
    {errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EROFS}
    | {errno.EACCES, errno.EPERM, errno.EREMOTEIO, errno.ENXIO, errno.ECONNREFUSED, errno.EHOSTUNREACH}
)


@contextmanager
def translate_os_errors(doing: str, asked_bytes: int = 0, directory: int = -1) -> Iterator[None]:
    """Turn an error of the system into one that says what to do.

    "Not there" and "there already" pass: callers know better. `directory`, open, is on the disk that may be full.
    """
    try:
        yield
    except BackendError:
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFullError(
                f"The disk is full ({doing}). Nothing was published. Free space on the storage server, purge trash or "
                "clean up intermediates, then try again.",
                **_room(asked_bytes, directory),
            ) from error
        if error.errno == errno.EDQUOT:
            raise QuotaExceededError(
                f"The file system's own quota for this account is used up ({doing}). Nothing was published. Raise it "
                "on the storage server, or free space.",
                scope="file_system",
                **_room(asked_bytes, directory),
            ) from error
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}:
            raise UnsafePathError(
                f"The layout was changed from outside ({doing}: {error.strerror}): a link or another kind of file "
                "lies where the backend has its own. Nothing was written there. Look who put it there and move it away."
            ) from error
        if error.errno in _AWAY:
            raise ShareUnavailableError(
                f"The share refused or did not answer ({doing}: {error.strerror}). Nothing was acknowledged: when the "
                "share answers again, send it again with the same key."
            ) from error
        raise


def _room(asked_bytes: int, directory: int) -> dict[str, int]:
    """Return the bytes used, asked for and free; zeros where the file system does not say."""
    used = free = 0
    with suppress(OSError):
        disk = os.fstatvfs(directory)
        used, free = (disk.f_blocks - disk.f_bfree) * disk.f_frsize, disk.f_bavail * disk.f_frsize
    return {"used_bytes": used, "asked_bytes": asked_bytes, "free_bytes": free}
