# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the mounts, disks, exports and directories of a host, as evidence."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import shorten
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, state
from ansible_collections.noslop.studio.plugins.module_utils.nfs import exports, mount_options

#: Directories of a share that are looked at, and how deep they may lie.
MOST_DIRECTORIES = 2000
MOST_DEPTH = 3
MOST_EXAMPLES = 5
#: Made by mkfs(8) for root.
_RESCUE_DIRECTORY = "lost+found"


def read_mounts(shares: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """Return what is mounted at the path of each share, by its name. Touches no share."""
    table = mountinfo.read_mounts()
    mounts: dict[str, dict[str, Any]] = {}
    for share in shares:
        mount = mount_options.effective_mount(table, share["path"]) or mountinfo.mount_containing(table, share["path"])
        if mount:
            words = [f"{name}={value}" if value else name for name, value in mount.options.items()]
            mounts[share["name"]] = {
                "path": share["path"],
                "point": mount.point,
                "type": mount.fstype,
                "source": mount.source,
                "options": shorten(",".join(words), 400),
                "read_only": "ro" in mount.options,
            }
    return mounts


def read_disk(path: str) -> dict[str, Any]:
    """Return room and inodes of the file system of a path."""
    space, device = os.statvfs(path), os.stat(path).st_dev
    return {
        "path": path,
        "device": f"{os.major(device)}:{os.minor(device)}",
        "bytes": space.f_blocks * space.f_frsize,
        "free_bytes": space.f_bavail * space.f_frsize,
        "inodes": space.f_files,
        "free_inodes": space.f_favail,
        "read_only": bool(space.f_flag & os.ST_RDONLY),
    }


def read_exports(file: str = studio.EXPORTS_FILE) -> dict[str, Any]:
    """Return the paths in NoSlop's file with exports, and those that the NFS server exports now."""
    return {
        "file": file,
        "written": sorted(exports.parse_exports_file(state.read_text(file))),
        "exported": sorted(exports.parse_exportfs(state.run_program("exportfs", "-s"))),
        "threads": _number(state.read_text("/proc/fs/nfsd/threads")),
    }


def find_foreign_directories(path: str, uid: int) -> Callable[[], dict[str, Any]]:
    """Return a function for a worker process of a share's owner: it finds directories that the owner cannot change.

    Only those of other accounts count. It looks at a bounded number of them, and follows no link.
    """

    def work() -> dict[str, Any]:
        examples: list[dict[str, Any]] = []
        queue = [(path, 0)]
        count = looked = 0
        while queue and looked < MOST_DIRECTORIES:
            directory, depth = queue.pop(0)
            looked += 1
            try:
                status = os.lstat(directory)
                queue += [(entry, depth + 1) for entry in _list_directories(directory)] if depth < MOST_DEPTH else []
            except FileNotFoundError:  # it was removed meanwhile
                continue
            except PermissionError:
                pass
            if depth and status.st_uid != uid and not os.access(directory, os.W_OK | os.X_OK):
                count += 1
                if len(examples) < MOST_EXAMPLES:
                    examples.append({"path": shorten(directory), "uid": status.st_uid, "gid": status.st_gid})
        return {"path": path, "count": count, "examples": examples}

    return work


def _list_directories(directory: str) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(
            entry.path for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name != _RESCUE_DIRECTORY
        )


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0
