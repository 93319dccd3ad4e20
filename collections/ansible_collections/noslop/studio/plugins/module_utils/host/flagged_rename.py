# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rename with the flags of renameat2(2), which Python has no function for."""

from __future__ import annotations

import ctypes
import os

#: linux/fs.h: never over another file; both names exchange their files.
NO_REPLACE, EXCHANGE = 1, 2


def rename_by(from_name: str, to_name: str, from_directory: int, to_directory: int, flags: int) -> None:
    """Rename an entry of an open directory.

    Raises:
        FileExistsError: the new name is in use, with :data:`NO_REPLACE`.
        OSError: the file system cannot do it (EINVAL), or another error.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(from_directory, os.fsencode(from_name), to_directory, os.fsencode(to_name), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), from_name)
