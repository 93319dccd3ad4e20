# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove and compare what has a name in an open directory, and follow no link."""

from __future__ import annotations

import os
import shutil

#: To open a directory that is one, and not a link to one.
DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(parent: int, name: str) -> None:
    """Remove a directory with all that is in it, as far as it is there; links are removed, never followed."""
    while True:
        try:
            # Walks by descriptors and follows no link (shutil.rmtree.avoids_symlink_attacks).
            shutil.rmtree(name, dir_fd=parent)
        except FileNotFoundError:
            # Of something in it, or of itself: another process removes it too, or an answer was lost on the way (NFS).
            try:
                os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return
        else:
            return


def is_same_file(one: int, one_name: str, two: int, two_name: str) -> bool:
    """Return whether two names, each in an open directory, lead to one file; False when one leads to none."""
    try:
        return is_name_of(two, two_name, os.stat(one_name, dir_fd=one, follow_symlinks=False))
    except FileNotFoundError:
        return False


def is_name_of(directory: int, name: str, file: os.stat_result) -> bool:
    """Return whether a name in an open directory is one of a file's."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == (file.st_dev, file.st_ino)
