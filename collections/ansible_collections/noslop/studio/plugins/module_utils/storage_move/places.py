# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide where the copies and the kept files of a move lie, and rename the shares between these places.

A copy lies beside the final place, on the same file system, in a directory that only root enters; so does what is kept
on the old server. So each step of the switch is one rename a share, and one that was interrupted is done again.
The directories above the shares are root's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import format_gigabytes
from ansible_collections.noslop.studio.plugins.module_utils.host import flagged_rename, safe_paths, state
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import (
    VOLATILE_TYPES,
    Mount,
    is_below,
    mount_at,
    mount_containing,
    parents,
)
from ansible_collections.noslop.studio.plugins.module_utils.share import markers, own_file_system
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.record import MoveError
from ansible_collections.noslop.studio.plugins.module_utils.studio import MARKER

STAGING = ".noslop-move"
KEPT = ".noslop-moved"
#: The marker of a share in its kept directory: no host accepts it as a share.
KEPT_MARKER = ".noslop-moved-share"
PRIVATE_MODE = 0o700


@dataclass(frozen=True)
class Share:
    """A share: its name, and its path on every host."""

    name: str
    path: str

    @property
    def staging(self) -> str:
        """Return the directory of the copy on the new server."""
        return os.path.join(os.path.dirname(self.path), STAGING, self.name)

    def kept(self, stamp: str) -> str:
        """Return the directory of the kept files on the old server."""
        return os.path.join(os.path.dirname(self.path), f"{KEPT}-{stamp}", self.name)


@dataclass(frozen=True)
class Need:
    """Bytes and inodes that a share takes on the old server."""

    size: int
    inodes: int


def find_source_problems(shares: Sequence[Share], studio_id: str, mounts: list[Mount]) -> list[str]:
    """Return why the shares of this host cannot be moved away; empty where they can."""
    problems: list[str] = []
    for share in shares:
        if not os.path.isdir(share.path):
            problems.append(f"{share.path} does not exist. Run the storage playbook first.")
            continue
        try:
            text = safe_paths.read_file(os.path.join(share.path, MARKER), markers.LIMIT_BYTES).decode(
                "utf-8", "replace"
            )
            problem = markers.find_problem(text, studio_id, share.name)
        except OSError as error:
            problem = f"its marker {MARKER} cannot be read: {error.strerror}. Run the storage playbook first."
        problems += [f"{share.path}: {problem}"] if problem else []
        if mount_at(mounts, share.path):
            problems.append(
                f"{share.path} is the mount point of a disk, which cannot be renamed. Mount that disk at "
                f"{os.path.dirname(share.path)} or above, with the share as a directory in it, and run this again."
            )
        problems += [
            f"A file system is mounted at {mount.point}, inside of the share {share.name}, which clients do not see. "
            "Unmount it, or mount it elsewhere, and run this again."
            for mount in mounts
            if mount.point != share.path and is_below(mount.point, share.path)
        ]
    return problems


def find_target_problems(shares: Sequence[Share], mounts: list[Mount], fstab_points: Sequence[str]) -> list[str]:
    """Return why the shares cannot be put on this host, but for room; empty where they can.

    The path of a share is not accessed: it may be mounted from a server that is away.
    """
    problems: list[str] = []
    for share in shares:
        above = _find_existing(os.path.dirname(share.path))
        mount = mount_containing(mounts, above)
        if mount and (mount.is_network or mount.fstype == "autofs"):
            problems.append(f"{share.path} would lie on {mount.point}, a network file system ({mount.fstype}).")
        elif mount and mount.fstype in VOLATILE_TYPES:
            problems.append(f"{share.path} would lie on {mount.point}, which a restart empties ({mount.fstype}).")
        for point in fstab_points:
            if is_below(share.path, point) and mount_at(mounts, point) is None:
                problems.append(
                    f"{share.path} lies on {point}, which /etc/fstab names and which is not mounted. Run `mount "
                    f"{point}`, or remove the line from /etc/fstab."
                )
        there = mount_at(mounts, share.path)
        if there is None and os.path.lexists(share.path):
            problems += _find_obstacle(share)
        elif there is not None and there.fstype != "autofs" and not there.is_network:
            problems.append(
                f"{there.source} is mounted at {share.path}. Mount it at {os.path.dirname(share.path)} or above, with "
                "room for all shares, and run this again."
            )
    return list(dict.fromkeys(problems))


def find_server_problems(
    root: str, shares: Sequence[Share], mounts: list[Mount], *, require_own_file_system: bool
) -> list[str]:
    """Return why this host cannot export the shares; empty where it can."""
    problems = []
    if not state.supports("nfsd", "nfsd"):
        problems.append(
            "The kernel of this host has no NFS server. Install a kernel with the module nfsd (on Debian "
            "linux-image-amd64), and reboot into it."
        )
    if state.offers_nfs3():
        problems.append(
            "The NFS server of this host runs with NFSv3, which a studio's server does not. Put vers2=n and vers3=n "
            "under [nfsd] into a file of /etc/nfs.conf.d, and at a quiet moment run `systemctl restart nfs-server`."
        )
    # As it is when the shares are not mounted from another host any more.
    own = [mount for mount in mounts if mount.point not in {share.path for share in shares}]
    shared = [share.path for share in shares if not own_file_system.has_own(own, root, share.path)]
    if shared and require_own_file_system:
        problems.append(own_file_system.refusal("this host", root, shared))
    return problems


def find_room_problems(shares: Sequence[Share], needs: dict[str, Need], reserve_bytes: float) -> list[str]:
    """Return a sentence for each file system of this host that has no room for the shares that go there.

    Args:
        shares: the shares.
        needs: what each still takes, by name: what is copied already is not counted again.
        reserve_bytes: what must stay free.
    """
    problems = []
    by_device: dict[int, list[Share]] = {}
    for share in shares:
        by_device.setdefault(os.stat(_find_existing(os.path.dirname(share.path))).st_dev, []).append(share)
    for on_one in by_device.values():
        where = _find_existing(os.path.dirname(on_one[0].path))
        space = os.statvfs(where)
        free = space.f_bavail * space.f_frsize
        size = sum(needs[share.name].size for share in on_one)
        inodes = sum(needs[share.name].inodes for share in on_one)
        names = ", ".join(share.path for share in on_one)
        if free < size + reserve_bytes:
            problems.append(
                f"The file system of {names} has {format_gigabytes(free)} free, and {format_gigabytes(size)} are to be "
                f"copied, with {reserve_bytes / 1e9:g} GB to stay free (noslop_min_free_gb). Make room, or mount a "
                "larger disk at the storage root."
            )
        if space.f_files and space.f_favail < inodes:
            problems.append(
                f"The file system of {names} has {space.f_favail:,} inodes free, and {inodes:,} files and directories "
                "are to be copied. Make room, or use a file system with more inodes."
            )
    return problems


def make_staging(shares: Sequence[Share]) -> None:
    """Make the directories of the copies, which only root enters."""
    for share in shares:
        safe_paths.make_directory(os.path.dirname(share.staging), 0, 0, PRIVATE_MODE)
        if not os.path.isdir(share.staging):
            safe_paths.make_directory(share.staging, 0, 0, PRIVATE_MODE)


def set_aside(share: Share, stamp: str) -> None:
    """Rename a share of the old server to its kept directory."""
    kept = share.kept(stamp)
    safe_paths.make_directory(os.path.dirname(kept), 0, 0, PRIVATE_MODE)
    _rename(share.path, kept)


def disable_marker(share: Share, stamp: str) -> None:
    """Rename the marker of a share that was set aside, so that no host accepts these files as the share."""
    kept = share.kept(stamp)
    with contextlib.suppress(FileNotFoundError):
        _rename(os.path.join(kept, MARKER), os.path.join(kept, KEPT_MARKER))


def put_back(share: Share, stamp: str) -> None:
    """Undo :func:`set_aside` and :func:`disable_marker`. A share that is in its place stays."""
    kept = share.kept(stamp)
    if not os.path.isdir(kept):
        _remove_empty(os.path.dirname(kept))
        return
    with contextlib.suppress(FileNotFoundError):
        _rename(os.path.join(kept, KEPT_MARKER), os.path.join(kept, MARKER))
    _remove_empty(share.path)
    _rename(kept, share.path)
    _remove_empty(os.path.dirname(kept))


def put_in_place(share: Share) -> None:
    """Rename a copy to the path of its share on the new server. One that is in its place stays."""
    if not os.path.isdir(share.staging):
        return
    _remove_empty(share.path)
    _rename(share.staging, share.path)
    _remove_empty(os.path.dirname(share.staging))


def withdraw(share: Share, mounts: list[Mount]) -> None:
    """Undo :func:`put_in_place`, for a share that is in its place and no mount."""
    if os.path.isdir(share.staging) or mount_at(mounts, share.path):
        return
    if not os.path.lexists(os.path.join(share.path, MARKER)):
        return
    safe_paths.make_directory(os.path.dirname(share.staging), 0, 0, PRIVATE_MODE)
    _rename(share.path, share.staging)


def remove_staging(shares: Sequence[Share]) -> list[str]:
    """Remove the copies on the new server. Return the directories that were removed."""
    removed = []
    for directory in sorted({os.path.dirname(share.staging) for share in shares}):
        if os.path.lexists(directory):
            safe_paths.remove_tree(directory)
            removed.append(directory)
    return removed


def find_users(paths: Sequence[str], server: int | None = None) -> list[str]:
    """Return a phrase for each process of this host that has a directory or file below the paths open or as its own.

    Args:
        paths: the directories.
        server: the process that serves the copy, whose programs end with their connections.
    """
    users = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid == os.getpid() or (server and server in _list_ancestors(pid)):
            continue
        with contextlib.suppress(OSError):  # the process may end meanwhile
            links = ["cwd", "root", *(f"fd/{number}" for number in os.listdir(f"/proc/{pid}/fd"))]
            targets = [_read_link(f"/proc/{pid}/{link}") for link in links]
            used = next((target for target in targets if any(is_below(target, path) for path in paths)), "")
            if used:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                    users.append(f"{stream.read().strip()} (pid {pid}) uses {used}")
    return users


def _list_ancestors(pid: int) -> list[int]:
    """Return the processes above one, the nearest first (proc_pid_stat(5)); none where it has ended."""
    ancestors: list[int] = []
    with contextlib.suppress(OSError, IndexError, ValueError):
        while pid > 1:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                pid = int(stream.read().rpartition(") ")[2].split()[1])
            ancestors.append(pid)
    return ancestors


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _find_obstacle(share: Share) -> list[str]:
    """Return why the path of a share, at which nothing is mounted, is not free."""
    status = os.lstat(share.path)
    if not stat.S_ISDIR(status.st_mode):
        return [f"{share.path} is there and is not a directory. Move it away, and run this again."]
    if os.listdir(share.path):
        return [f"{share.path} contains files. Move them away, and run this again."]
    return []


def _find_existing(path: str) -> str:
    return next(directory for directory in [path, *parents(path)] if os.path.isdir(directory))


def _rename(before: str, after: str) -> None:
    """Rename a file or directory, never over another one, and write both directories to the disk."""
    old = safe_paths.open_directory(os.path.dirname(before))
    new = safe_paths.open_directory(os.path.dirname(after))
    try:
        flagged_rename.rename_by(os.path.basename(before), os.path.basename(after), old, new, flagged_rename.NO_REPLACE)
        for descriptor in (old, new):
            readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
            try:
                os.fsync(readable)
            finally:
                os.close(readable)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), before) from None
        raise MoveError(f"{before} could not be renamed to {after}: {error.strerror}. Look at both.") from error
    finally:
        for descriptor in (old, new):
            os.close(descriptor)


def _remove_empty(path: str) -> None:
    """Remove an empty directory, such as a mount point at which nothing is mounted."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and STAGING not in path and KEPT not in path:
            raise MoveError(f"{path} contains files. Move them away, and run this again.") from error
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
