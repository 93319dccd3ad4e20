# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the media cache below a size. It is a share of its own, and all that is in it can be made again."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from noslop_backend.share import layout
from noslop_backend.share.directories import DIRECTORY_FLAGS
from noslop_backend.share.marker import open_root, read_marker
from noslop_backend.share.os_errors import translate_os_errors

SHARE = "media_cache"


class CacheTree:
    """The directory of the media cache."""

    def __init__(self, root: Path, studio_id: str) -> None:
        self.root = root
        self.studio_id = studio_id

    def trim(self, limit_bytes: int, *, dry_run: bool = False) -> int:
        """Remove files, those first that were written first, until no more than `limit_bytes` remain.

        Returns:
            How many bytes went, or with `dry_run` would go.

        Raises:
            ShareUnavailableError: this is not the cache's share.
        """
        root = open_root(self.root)
        try:
            read_marker(root, self.root, self.studio_id, SHARE)
            with translate_os_errors("trimming the media cache"):
                return self._trim(root, limit_bytes, dry_run=dry_run)
        finally:
            os.close(root)

    def _trim(self, root: int, limit_bytes: int, *, dry_run: bool) -> int:
        files: list[tuple[int, int, str]] = []
        # Walks by descriptors, and does not follow links into other trees.
        for directory, _below, names, descriptor in os.fwalk(".", dir_fd=root, follow_symlinks=False):
            for name in names:
                with suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and name != layout.MARKER:
                        files.append((status.st_mtime_ns, status.st_size, os.path.join(directory, name)))
        surplus = sum(size for _, size, _ in files) - limit_bytes
        freed = 0
        for _, size, path in sorted(files):
            if freed >= surplus:
                break
            if not dry_run:
                _remove(root, path)
            freed += size
        return freed


def _remove(root: int, path: str) -> None:
    """Remove a file, through directories that are directories now too."""
    *above, name = path.split("/")
    descriptor = os.dup(root)
    try:
        for part in above:
            below = os.open(part, DIRECTORY_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        os.unlink(name, dir_fd=descriptor)
    except FileNotFoundError:
        return
    finally:
        os.close(descriptor)
