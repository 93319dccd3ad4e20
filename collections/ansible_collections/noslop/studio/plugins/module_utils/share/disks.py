# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the disks that shares lie on, and those that are not mounted: the directories beneath look like empty shares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host.fstab import Entry
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import (
    Mount,
    is_below,
    mount_at,
    mount_containing,
)


@dataclass(frozen=True)
class MissingDisk:
    """A file system that is not mounted: its mount point, its source where that is known, and the shares below."""

    point: str
    source: str
    shares: tuple[str, ...]


def find_disk(path: str, mounts: list[Mount]) -> str:
    """Return the mount point of the file system that a share lies on; empty where that is the one of ``/``.

    Only what exports(5) recognises as a mount point counts, since an export that waits for another is never there: a
    directory on another device than the one above it. A bind mount of the same file system is none.
    """
    mount = mount_containing(mounts, path)
    if mount is None or mount.point == "/":
        return ""
    above = os.stat(os.path.dirname(mount.point))
    return mount.point if os.stat(mount.point).st_dev != above.st_dev else ""


def find_missing_disks(
    shares: Sequence[Mapping[str, str]], fstab: Sequence[Entry], exported_points: Iterable[str], mounts: list[Mount]
) -> list[MissingDisk]:
    """Return the file systems with shares that should be mounted, and are not.

    Args:
        shares: the shares, each with ``name`` and ``path``.
        fstab: the entries of the host's fstab.
        exported_points: the mount points that the exports wait for.
        mounts: what is mounted.
    """
    sources = {entry.point: entry.source for entry in fstab}
    wanted = [entry.point for entry in fstab if not entry.noauto] + list(exported_points)
    missing = []
    for point in dict.fromkeys(wanted):
        below = tuple(share["name"] for share in shares if is_below(share["path"], point))
        if below and mount_at(mounts, point) is None:
            missing.append(MissingDisk(point, sources.get(point, ""), below))
    return missing
