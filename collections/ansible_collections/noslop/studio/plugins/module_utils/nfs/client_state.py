# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the state of a client's mounts and units, and find reasons against a mount. Changes nothing."""

from __future__ import annotations

import functools
import glob
import os
import socket
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount, split_options
from ansible_collections.noslop.studio.plugins.module_utils.nfs import mount_options
from ansible_collections.noslop.studio.plugins.module_utils.share import markers
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import make_unit_name
from ansible_collections.noslop.studio.plugins.module_utils.studio import NFS_PORT, TLSHD_UNIT, UNITS_DIR

#: First line of our units.
HEADER = "# Managed by NoSlop (noslop.studio.nfs_client)"
#: How long the server may take to accept a connection before it counts as down.
CONNECT_S = 5.0


class MountError(Exception):
    """A share cannot be mounted or unmounted. The message contains the next step."""


@dataclass(frozen=True)
class Share:
    """One share as it should be mounted."""

    name: str
    path: str
    source: str
    options: str

    @property
    def units(self) -> tuple[str, str]:
        """Return the names of its mount unit and its automount unit."""
        return make_unit_name(self.path, "mount"), make_unit_name(self.path, "automount")


@functools.cache
def accepts_connections(server: str) -> bool:
    """Return whether the server accepts connections for NFS. Tested once: each test of a server that is down waits."""
    try:
        with socket.create_connection((server, NFS_PORT), CONNECT_S):
            return True
    except OSError:
        return False


def read_session_servers() -> set[str]:
    """Return the addresses of the servers with which the kernel's NFS client has a session, mounted or not."""
    try:
        with open("/proc/fs/nfsfs/servers", encoding="ascii") as stream:
            return {line.split()[-1] for line in stream.read().splitlines()[1:] if line.strip()}
    except FileNotFoundError:
        return set()


def read_managed_paths() -> list[str]:
    """Return the mount points of the units with our header."""
    paths: set[str] = set()
    for file in glob.glob(os.path.join(UNITS_DIR, "*.mount")) + glob.glob(os.path.join(UNITS_DIR, "*.automount")):
        with open(file, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        if text.startswith(HEADER):
            paths.update(line.partition("=")[2].strip() for line in text.splitlines() if line.startswith("Where="))
    return sorted(paths)


def find_reasons_to_unmount(share: Share, mounts: list[Mount]) -> list[str]:
    """Return why a share has to be unmounted and mounted again; empty when its mount is right, or missing."""
    mount = mount_options.effective_mount(mounts, share.path)
    if mount is None:
        return []
    reasons = mount_options.find_reasons_to_remount(mount, share.source, share.options)
    if not mount_options.waits_for_access(mounts, share.path):
        reasons.append("its automount is missing")
    return reasons


def find_refusal_step(options: str) -> str:
    """Return what to do where the server refuses a mount with these options."""
    step = "If access was denied, the server does not know this host's address: run the storage playbook for all hosts."
    if "xprtsec" in split_options(options):
        step += f" If the TLS handshake failed, `journalctl -u {TLSHD_UNIT}` says why, here and on the server."
    return step


def find_mount_point_problems(path: str, mounts: list[Mount], ours: bool) -> list[str]:
    """Return the problems with mounting at ``path``: a mount that is not ours, or files that would be hidden.

    Args:
        path: the mount point.
        mounts: what is mounted on this host.
        ours: whether there are units of ours for it already.
    """
    mount = mount_options.effective_mount(mounts, path)
    if path in markers.read_fstab_points(include_noauto=True):
        return [f"/etc/fstab mounts something at {path}. Remove that line, and unmount it (umount {path})."]
    if mount is not None:
        # The path itself must not be accessed: its server may be down.
        if ours and mount.fstype in ("nfs", "nfs4"):
            return []
        what = f"{mount.source} ({mount.fstype}) is mounted at {path}."
        return [f"{what} Unmount it (umount {path}), or choose another path."]
    if mount_options.waits_for_access(mounts, path):
        foreign = f"An automount that is not NoSlop's stands at {path}. Remove it, or choose another path."
        return [] if ours else [foreign]
    problems = markers.find_directory_problems(path)
    if not problems and os.path.isdir(path) and os.listdir(path):
        shown = ", ".join(sorted(os.listdir(path))[:3])
        return [
            f"{path} holds files ({shown} ...), which a mount would hide. Move them away "
            f"(mv {path} {path}.before-noslop), run again, and copy them into the share then."
        ]
    return problems
