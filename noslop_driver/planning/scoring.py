# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host can do, in numbers: the capability score, and the room it has for the studio's directories. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from noslop_driver.models import Disk, Host, Wishes

GB = 10**9
"""What `noslop_min_free_gb` counts in, as disks are sold; memory is told in GiB, as it is sold."""

WEIGHTS = {"memory": 40, "gpu": 30, "cpu": 20, "disk": 10}

_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p")
_NO_STORAGE = ("autofs", "tmpfs", "ramfs", "devtmpfs", "squashfs", "iso9660", "proc", "sysfs", "efivarfs")


@dataclass(frozen=True)
class Room:
    """The file systems that would hold the studio's directories on one host, and whether they have the room.

    `enough` is "unknown" where the host did not say which file system a directory would lie on.
    """

    disks: tuple[Disk, ...]
    enough: Literal["yes", "no", "unknown"]

    @property
    def free_bytes(self) -> int:
        """Free bytes of all of them together."""
        return sum(disk.free_bytes for disk in self.disks)

    @property
    def tightest(self) -> Disk | None:
        """The one with the least free."""
        return min(self.disks, key=lambda disk: disk.free_bytes, default=None)


def room_of(host: Host, wishes: Wishes) -> Room:
    """Find where the shares would lie on `host`; each of these file systems must have the least free space wanted.

    A share that is mounted there already from another host is no room of this one's own, unless the studio is to use
    storage that exists.
    """
    usable = [disk for disk in host.disks if _holds_data(disk, remote=wishes.storage_provider == "existing")]
    found = [disk_of(share.path, usable) for share in wishes.shares()]
    disks = tuple({disk.mount: disk for disk in found if disk}.values())
    if any(disk.free_bytes < wishes.min_free_gb * GB for disk in disks):
        return Room(disks, "no")
    return Room(disks, "unknown" if None in found else "yes")


def disk_of(path: str, disks: Iterable[Disk]) -> Disk | None:
    """The file system that `path` would lie on: the one with the longest mount point above it."""
    above = [disk for disk in disks if path == disk.mount or path.startswith(disk.mount.rstrip("/") + "/")]
    return max(above, key=lambda disk: len(disk.mount), default=None)


def largest_disk(host: Host) -> Disk | None:
    """The host's own file system with the most free space."""
    local = [disk for disk in host.disks if _holds_data(disk, remote=False)]
    return max(local, key=lambda disk: (disk.free_bytes, disk.mount), default=None)


def scores(hosts: Sequence[Host], wishes: Wishes) -> list[int]:
    """Score each host from 0 to 100: memory 40, GPU memory 30, CPUs 20, free room for the shares 10.

    Each part is measured against the best host of this studio, since the score only ever chooses between these
    hosts: fixed sizes would age, and everything above them would look alike. What is not known counts as nothing.
    """
    amounts = [
        {
            "memory": host.memory_mib or 0,
            "gpu": host.gpu_memory_mib,
            "cpu": host.cpus or 0,
            "disk": room_of(host, wishes).free_bytes,
        }
        for host in hosts
    ]
    best = {part: max((amount[part] for amount in amounts), default=0) for part in WEIGHTS}
    return [
        round(sum(weight * amount[part] / best[part] for part, weight in WEIGHTS.items() if best[part]))
        for amount in amounts
    ]


def in_words(host: Host) -> str:
    """The host in half a line."""
    memory = f"{host.memory_mib / 1024:.0f} GiB memory" if host.memory_mib else "memory not known"
    cpus = f"{host.cpus} CPU{'s' if host.cpus > 1 else ''}" if host.cpus else "CPUs not known"
    cards = [gpu for gpu in host.gpus if gpu.usable]
    gpus = ", ".join(f"{gpu.name} ({gpu.memory_mib / 1024:.0f} GiB)" if gpu.memory_mib else gpu.name for gpu in cards)
    return f"{memory}, {cpus}, {gpus or 'no usable GPU'}"


def gb(size_bytes: float) -> str:
    """A size on disk for a person: `0.4 GB`, `12 GB`, `1.8 TB`."""
    if size_bytes >= 1000 * GB:
        return f"{size_bytes / (1000 * GB):.1f} TB"
    return f"{size_bytes / GB:.0f} GB" if size_bytes >= 10 * GB else f"{size_bytes / GB:.1f} GB"


def _holds_data(disk: Disk, *, remote: bool) -> bool:
    if disk.fstype in _NO_STORAGE:
        return False
    return remote or not (disk.fstype in _REMOTE or disk.fstype.startswith("fuse."))
