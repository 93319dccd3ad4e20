# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the processes that use a mounted file system.

Reads ``/proc`` only and never the file system itself, so that it also works while its server is down, where fuser(1)
and lsof(8) would block.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import (
    Mount,
    is_below,
    parse_mountinfo,
    read_mounts,
)


@dataclass(frozen=True)
class MountUser:
    """One process and one path that it uses below a mount point."""

    pid: int
    name: str
    path: str
    unit: str

    def __str__(self) -> str:
        """Return a phrase for messages."""
        return f"{self.name} (pid {self.pid}) uses {self.path}"


def find_mount_users(points: Sequence[str]) -> list[MountUser]:
    """Return the processes that use the file systems at ``points``, by working directory, program, map or open file."""
    mounts = [mount for mount in read_mounts() if mount.point in points and mount.fstype != "autofs"]
    # The same file system may be mounted elsewhere in a container; it has the same device and root there.
    wanted = {(mount.device, mount.root) for mount in mounts}
    users = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):  # the process may end meanwhile
            path = _first_use(pid, wanted) if wanted else ""
            if path:
                users.append(MountUser(pid, _text(pid, "comm").strip(), path, _unit(pid)))
    return users


def _first_use(pid: int, wanted: set[tuple[str, str]]) -> str:
    mounts = [mount for mount in parse_mountinfo(_text(pid, "mountinfo")) if (mount.device, mount.root) in wanted]
    if not mounts:
        return ""
    points = [mount.point for mount in mounts]
    for link in ("cwd", "root", "exe"):
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/{pid}/{link}")
            if any(is_below(path, point) for point in points):
                return path
    return _open_file(pid, {mount.number for mount in mounts}) or _mapped_file(pid, mounts)


def _open_file(pid: int, mount_ids: set[str]) -> str:
    """Return a file that a process has open, by the mount's number (proc_pid_fdinfo(5)), the same in all namespaces."""
    for number in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError):
            for line in _text(pid, f"fdinfo/{number}").splitlines():
                if line.startswith("mnt_id:") and line.split()[1] in mount_ids:
                    return os.readlink(f"/proc/{pid}/fd/{number}")
    return ""


def _mapped_file(pid: int, mounts: list[Mount]) -> str:
    devices = {_hexadecimal(mount.device) for mount in mounts}
    for line in _text(pid, "maps").splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and words[3] in devices and any(is_below(words[5], mount.point) for mount in mounts):
            return words[5]
    return ""


def _hexadecimal(device: str) -> str:
    """Return a device such as ``0:46`` as /proc/<pid>/maps writes it: ``00:2e``."""
    major, __, minor = device.partition(":")
    return f"{int(major):02x}:{int(minor):02x}"


def _unit(pid: int) -> str:
    """Return the systemd unit whose control group a process is in; empty when it is in none."""
    for line in _text(pid, "cgroup").splitlines():
        for part in reversed(line.split("/")):
            if part.endswith((".service", ".scope")):
                return part
    return ""


def _text(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as stream:
        return stream.read()
