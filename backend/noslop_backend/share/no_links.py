# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rename a file, never over another one: how a file gets its name on a share without hard links."""

from __future__ import annotations

import ctypes
import errno
import os

from noslop_backend.core.errors import ConflictError, ShareUnavailableError

#: What link(2) says where hard links do not exist, or not from here, or not one more.
NO_LINKS = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})
_RENAME_NOREPLACE = 1
#: What renameat2(2) returns where the file system, or the kernel, cannot do it.
_NEITHER = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def rename_new(from_directory: int, from_name: str, to_directory: int, to_name: str, label: str) -> None:
    """Rename a file to a name that no other file has (renameat2(2), RENAME_NOREPLACE).

    Args:
        from_directory: the open directory with the file.
        from_name: its name there.
        to_directory: the open directory that it goes to.
        to_name: its name there.
        label: where it goes, for a message.

    Raises:
        ConflictError: another file has the name.
        FileNotFoundError: there is no such file.
        ShareUnavailableError: the file system cannot do it.
    """
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(from_name), os.fsencode(to_name)
    if library.renameat2(from_directory, names[0], to_directory, names[1], _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        raise ConflictError(f"{label} is there already, and is not from here. Move it away and try again.")
    if number in _NEITHER:
        raise ShareUnavailableError(
            f"The share can give {label} no name safely: it has neither hard links nor renames that replace nothing "
            f"({os.strerror(number)}). Nothing was saved. Move the studio to a file system that has one of them."
        )
    raise OSError(number, os.strerror(number), from_name)
