# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide whether a share lies on a file system of its own, and explain the risk where it does not. Pure.

With a forged file handle a client can leave an export of a directory inside a larger file system (exports(5),
``no_subtree_check``). The role exports such a share with ``subtree_check``, by which the kernel refuses files outside.
``all_squash`` still applies: a file outside would be accessed as the account of the share.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import (
    Mount,
    is_below,
    mount_at,
    mount_containing,
)


def has_own(table: list[Mount], root: str, path: str) -> bool:
    """Return whether the share ``path`` lies on a file system of its own, or on one mounted at the storage root.

    A bind mount shows a part of another file system, and a Btrfs subvolume shares its file handles with the whole of
    it (fs/btrfs/export.c looks a handle up in every subvolume), so neither counts.
    """
    mount = mount_containing(table, path)
    system = mount_at(table, "/")
    if mount is None or mount.point not in (root, path) or mount.root != "/":
        return False
    return system is None or (mount.device != system.device and mount.point != "/")


def exposure(server: str, root: str, paths: Sequence[str]) -> str:
    """Return a sentence that explains what a hostile member could do where shares lie among other files."""
    outside = [path for path in paths if not is_below(path, root)]
    named = ([root] if len(outside) < len(paths) else []) + outside
    return (
        f"The shares in {', '.join(named)} lie on a file system of {server} that holds other things: root on a member "
        f"can forge file handles, and only the kernel's check of each (subtree_check) keeps it from reading there what "
        f"every account of {server} may read."
    )


def todo(root: str) -> str:
    """Return the steps, with commands, that give the storage a file system of its own."""
    return (
        f"Leave it so where members are trusted, or give the storage a file system of its own, mounted at {root} "
        "(or at each share). A disk: `mkfs.ext4 /dev/DISK`. LVM: `lvcreate --size 500G --name noslop GROUP`, then "
        "`mkfs.ext4 /dev/GROUP/noslop`. A loop image: `fallocate --length 500G /srv/noslop.img`, then "
        "`mkfs.ext4 /srv/noslop.img`. Btrfs: a file system of its own, since a subvolume shares file handles with the "
        f"rest. Move what {root} holds aside, add `DEVICE {root} ext4 defaults 0 2` to /etc/fstab (for an image "
        f"`defaults,loop`), run `mount {root}`, and move it back."
    )


def refusal(server: str, root: str, paths: Sequence[str]) -> str:
    """Return the refusal of shares among other files where ``noslop_require_own_file_system`` is set."""
    return (
        f"{exposure(server, root, paths)} They are {', '.join(paths)}, and noslop_require_own_file_system is true. "
        f"{todo(root)} Or set that variable to false."
    )
