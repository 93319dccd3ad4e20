# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and parse the kernel's table of mounts. Accesses no mounted path, which may block for ever."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

#: File systems whose data lies on another machine. A FUSE file system is named by its subtype.
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "afs", "9p", "virtiofs"}
    | {"ocfs2", "gfs2", "orangefs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs", "fuse.glusterfs", "fuse.sshfs"}
    | {"fuse.rclone", "fuse.moosefs", "fuse.mfs", "fuse.lizardfs", "fuse.seaweedfs", "fuse.s3fs"}
)
#: File systems whose content is lost when the machine restarts.
VOLATILE_TYPES = frozenset({"tmpfs", "ramfs"})

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of ``/proc/self/mountinfo``; ``options`` are those of the mount and of the file system."""

    point: str
    fstype: str
    source: str
    device: str
    root: str = "/"
    options: dict[str, str] = field(default_factory=dict)
    #: the kernel's number of the mount, the same in all namespaces; a mount that was made again has another
    number: str = field(default="", compare=False)

    @property
    def is_network(self) -> bool:
        """Return whether the data lies on another machine."""
        return self.fstype in NETWORK_TYPES


def read_mounts() -> list[Mount]:
    """Return the mounts in the mount namespace of this process, in the order of mounting."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        return parse_mountinfo(stream.read())


def parse_mountinfo(text: str) -> list[Mount]:
    """Parse ``/proc/<pid>/mountinfo`` (proc_pid_mountinfo(5)), in the order of mounting."""
    mounts: list[Mount] = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not separator or len(left) < 6 or len(right) < 3:
            continue
        options = split_options(left[5])
        options.update(split_options(right[2]))
        mounts.append(
            Mount(
                point=unescape_octal(left[4]),
                fstype=right[0],
                source=unescape_octal(right[1]),
                device=left[2],
                root=unescape_octal(left[3]),
                options=options,
                number=left[0],
            )
        )
    return mounts


def split_options(text: str) -> dict[str, str]:
    """Return options such as ``rw,vers=4.2,hard`` as a dictionary; a word alone has an empty value."""
    words = (word.partition("=") for word in text.split(",") if word)
    return {name: value for name, __, value in words}


def mount_at(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount at exactly ``path``; the last one hides those before."""
    return next((mount for mount in reversed(mounts) if mount.point == path), None)


def mount_containing(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount that ``path`` lies on: the one with the longest mount point above it, and of equals the last."""
    best: Mount | None = None
    for mount in mounts:
        if is_below(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def is_below(path: str, directory: str) -> bool:
    """Return whether ``path`` is ``directory`` or lies in it; both absolute and normalised."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def parents(path: str) -> list[str]:
    """Return every directory above ``path``, the nearest first, ``/`` last."""
    directories: list[str] = []
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        directories.append(path)
    return directories


def unescape_octal(text: str) -> str:
    r"""Return ``text`` with each ``\040`` of mountinfo, fstab(5) and exports(5) as its character."""
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)
