# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the copies of a share, as the account that owns them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.model_cache.layout import CachedShare


@dataclass(frozen=True)
class StoredCopy:
    """A copy: its SHA-256, its size in bytes, the time of its original, and when a program opened it last."""

    digest: str
    size: int
    modified_ns: int
    used_ns: int


def read(share: CachedShare) -> list[StoredCopy]:
    """Return the copies of a share; none before the first."""
    if not os.path.isdir(share.files):
        return []
    with os.scandir(share.files) as entries:
        listed = [(entry.name, entry.stat()) for entry in entries]
    return [StoredCopy(name, status.st_size, status.st_mtime_ns, status.st_atime_ns) for name, status in listed]
