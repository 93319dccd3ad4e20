# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, compare and publish the marker of a share, and check a directory before it becomes a share."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import uuid
from collections.abc import Sequence

from ansible_collections.noslop.studio.plugins.module_utils.host import fstab
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount, is_below, mount_at, parents
from ansible_collections.noslop.studio.plugins.module_utils.share import no_replace

#: Larger than any marker; the rest of a larger file is not read.
LIMIT_BYTES = 4096


class MarkerError(Exception):
    """A share has the marker of another one."""


def compose(studio_id: str, share: str) -> str:
    """Return the text of a new marker, with an identity of its own for the share."""
    return json.dumps({"studio_id": studio_id, "share": share, "share_id": str(uuid.uuid4())}) + "\n"


def find_problem(text: str, studio_id: str, share: str) -> str:
    """Return why a marker with this text does not mark this share of this studio; empty when it does."""
    try:
        marker = json.loads(text)
        marked_studio, marked_share = marker["studio_id"], marker["share"]
    except (ValueError, KeyError, TypeError):
        return (
            "its marker .noslop-share is not readable as one. If this really is the share "
            f"{share!r} of the studio {studio_id!r}, remove that file and run again."
        )
    if marked_studio != studio_id:
        return (
            f"it belongs to the studio {marked_studio!r}, and this is the studio {studio_id!r}. "
            "Choose another path, or tear that studio down and remove its marker .noslop-share."
        )
    if marked_share != share:
        return (
            f"it is the share {marked_share!r} of this studio, and {share!r} is expected. "
            "Two paths were exchanged: put them right in the studio's variables."
        )
    return ""


def read(path: str, directory_fd: int | None = None) -> str:
    """Return the text of the marker at ``path``. A link is not followed: group members may write beside a marker."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory_fd)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(LIMIT_BYTES).decode("utf-8", "replace")


def publish(  # noqa: PLR0917  # owner and mode in the order of chown(1) and install(1)
    directory_fd: int, name: str, text: str, uid: int, gid: int, mode: int
) -> str:
    """Write ``text`` to ``name`` in an open directory, whole or not at all, and never over an existing file.

    The file is linked by its descriptor: the owner of the directory could replace the entry of its temporary name.

    Returns:
        The text of the marker: ours, or that of another host that was faster.
    """
    temporary = f"{name}.{uuid.uuid4().hex}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory_fd)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
            with contextlib.suppress(FileExistsError):
                _link_open_file(stream.fileno(), temporary, name, directory_fd)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory_fd)
    return read(name, directory_fd)


def _link_open_file(descriptor: int, temporary: str, name: str, directory_fd: int) -> None:
    try:
        # With dst_dir_fd, Python calls linkat(2) with AT_SYMLINK_FOLLOW, which leads to the open file.
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=directory_fd, follow_symlinks=True)
    except OSError as error:
        # The name may be exchanged meanwhile, which only the owner of the directory could do: root keeps to links.
        if error.errno not in no_replace.NO_LINKS or os.geteuid() == 0:
            raise
        no_replace.rename_new(temporary, name, directory_fd, directory_fd)


def find_directory_problems(path: str) -> list[str]:
    """Return why ``path`` cannot be a directory without a symlink in its path (systemd.mount(5)); empty when it can."""
    for part in [*reversed(parents(path)), path]:
        if os.path.islink(part):
            return [
                f"{path}: {part} is a symbolic link to {os.readlink(part)}. Mounts and exports need the real path: "
                "set the path it leads to, or replace the link by a directory."
            ]
        if os.path.lexists(part) and not os.path.isdir(part):
            return [f"{path}: {part} is there and is not a directory. Move it away, or choose another path."]
    return []


def find_missing_mounts(path: str, mounts: list[Mount]) -> list[str]:
    """Return a sentence for each mount point above ``path`` in /etc/fstab that is not mounted: it would hide files."""
    return [
        f"{path} lies on {point}, which /etc/fstab names and which is not mounted. "
        f"Run `mount {point}`, or remove the line from /etc/fstab."
        for point in read_fstab_points()
        if is_below(path, point) and mount_at(mounts, point) is None
    ]


def find_foreign_entries(root: str, paths: Sequence[str], gid: int) -> list[str]:
    """Return why a directory cannot be the storage root: others use it, and would lose access; empty when it can."""
    if not os.path.isdir(root):
        return []
    status = os.stat(root)
    if not status.st_mode & stat.S_IXOTH and status.st_gid == gid:
        return []
    ours = {path[len(root) :].split("/")[1] for path in paths if is_below(path, root)} | {"lost+found"}
    foreign = sorted(set(os.listdir(root)) - ours)
    if not foreign:
        return []
    shown = ", ".join(foreign[:3]) + (" and more" if len(foreign) > 3 else "")
    return [
        f"{root} is to be the storage root, which only members of the studio's group may enter, and it holds "
        f"other things ({shown}). Choose a directory of its own, like {root}/noslop, as noslop_storage_root."
    ]


def read_fstab_points(include_noauto: bool = False) -> list[str]:
    """Return the mount points in /etc/fstab (fstab(5)), with or without those that have the option ``noauto``."""
    return [entry.point for entry in fstab.read() if include_noauto or not entry.noauto]
