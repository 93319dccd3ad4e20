# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Score hosts by their hardware, and compute their free space for the studio's directories. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo
from ansible_collections.noslop.studio.plugins.module_utils.probe import directories

from noslop_driver.models import Disk, Host, StudioSettings

GB = 10**9
"""The unit of `noslop_min_free_gb` and of disk sizes. Memory is measured in GiB."""

WEIGHTS = {"memory": 40, "gpu": 30, "cpu": 20, "disk": 10}

_NO_STORAGE = (*mountinfo.VOLATILE_TYPES, "autofs", "devtmpfs", "squashfs", "iso9660", "proc", "sysfs", "efivarfs")


@dataclass(frozen=True)
class FreeSpace:
    """The file systems that would hold the studio's directories on one host, and whether they have enough free space.

    `enough` is "unknown" if the facts of the host do not have the file system of a directory.
    """

    disks: tuple[Disk, ...]
    enough: Literal["yes", "no", "unknown"]

    @property
    def free_bytes(self) -> int:
        """Return the sum of the free bytes of these file systems."""
        return sum(disk.free_bytes for disk in self.disks)

    @property
    def least_free(self) -> Disk | None:
        """Return the file system with the least free space."""
        return min(self.disks, key=lambda disk: disk.free_bytes, default=None)


def find_free_space(host: Host, settings: StudioSettings) -> FreeSpace:
    """Return the file systems that would hold the shares on `host`; each needs the minimum of free space.

    A share that is mounted from another host does not count, unless the storage provider is `existing`. Then the disk
    of the operating system does not: something else mounts the shares, which facts do not list for every file system.
    """
    existing = settings.storage_provider == "existing"
    usable = [
        disk
        for disk in host.disks
        if _holds_data(disk, remote=existing) and (not existing or directories.can_be_shared(disk.fstype, disk.mount))
    ]
    matches = [find_disk(share.path, usable) for share in settings.shares()]
    disks = tuple({disk.mount: disk for disk in matches if disk}.values())
    if not all(host_rules.is_enough_space(disk.free_bytes, settings.min_free_gb) for disk in disks):
        return FreeSpace(disks, "no")
    return FreeSpace(disks, "unknown" if None in matches else "yes")


def find_disk(path: str, disks: Iterable[Disk]) -> Disk | None:
    """Return the file system of `path`: the one with the longest mount point above it."""
    candidates = [disk for disk in disks if mountinfo.is_below(path, disk.mount)]
    return max(candidates, key=lambda disk: len(disk.mount), default=None)


def find_largest_disk(host: Host) -> Disk | None:
    """Return the host's own file system with the most free space."""
    local = [disk for disk in host.disks if _holds_data(disk, remote=False)]
    return max(local, key=lambda disk: (disk.free_bytes, disk.mount), default=None)


def score_hosts(hosts: Sequence[Host], settings: StudioSettings) -> list[int]:
    """Score each host from 0 to 100: memory 40, GPU memory 30, CPUs 20, free space for the shares 10.

    Each part is relative to the best host of this studio, because the score only compares these hosts: fixed sizes
    would age, and all hosts above them would get the same score. An unknown size counts as zero.
    """
    amounts = [
        {
            "memory": host.memory_mib or 0,
            "gpu": host.gpu_memory_mib,
            "cpu": host.cpus or 0,
            "disk": find_free_space(host, settings).free_bytes,
        }
        for host in hosts
    ]
    best = {part: max((amount[part] for amount in amounts), default=0) for part in WEIGHTS}
    return [
        round(sum(weight * amount[part] / best[part] for part, weight in WEIGHTS.items() if best[part]))
        for amount in amounts
    ]


def describe_hardware(host: Host) -> str:
    """Return the host's memory, CPUs and usable GPUs as text."""
    memory = f"{host.memory_mib / 1024:.0f} GiB memory" if host.memory_mib else "memory not known"
    cpus = f"{host.cpus} CPU{'s' if host.cpus > 1 else ''}" if host.cpus else "CPUs not known"
    cards = [gpu for gpu in host.gpus if gpu.usable]
    gpus = ", ".join(f"{gpu.name} ({gpu.memory_mib / 1024:.0f} GiB)" if gpu.memory_mib else gpu.name for gpu in cards)
    return f"{memory}, {cpus}, {gpus or 'no usable GPU'}"


def format_gb(size_bytes: float) -> str:
    """Return a size on disk as text: `0.4 GB`, `12 GB`, `1.8 TB`."""
    if size_bytes >= 1000 * GB:
        return f"{size_bytes / (1000 * GB):.1f} TB"
    return f"{size_bytes / GB:.0f} GB" if size_bytes >= 10 * GB else f"{size_bytes / GB:.1f} GB"


def _holds_data(disk: Disk, *, remote: bool) -> bool:
    if disk.fstype in _NO_STORAGE:
        return False
    return remote or not (disk.fstype in mountinfo.NETWORK_TYPES or disk.fstype.startswith("fuse."))
