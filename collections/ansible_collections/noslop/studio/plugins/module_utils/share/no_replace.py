# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish a whole file under its name in one step, and never over another file, with hard links or without."""

from __future__ import annotations

import errno
import os

from ansible_collections.noslop.studio.plugins.module_utils.host import flagged_rename

#: What link(2) returns where there are no hard links, or not one more.
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def rename_new(from_name: str, to_name: str, from_directory: int, to_directory: int) -> None:
    """Rename a file, never over another one (renameat2(2) with RENAME_NOREPLACE). NFS cannot do it, and has hard links.

    Raises:
        FileExistsError: the new name is in use.
        OSError: the file system cannot do it (EINVAL), or another error.
    """
    flagged_rename.rename_by(from_name, to_name, from_directory, to_directory, flagged_rename.NO_REPLACE)


def link_or_rename(from_name: str, to_name: str, from_directory: int, to_directory: int) -> bool:
    """Link a file to a name, or rename it where there are no hard links. Return whether it has both names now.

    Raises:
        FileExistsError: the new name is in use.
        OSError: the file system can do neither, or another error.
    """
    try:
        os.link(from_name, to_name, src_dir_fd=from_directory, dst_dir_fd=to_directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        rename_new(from_name, to_name, from_directory, to_directory)
        return False
    return True
