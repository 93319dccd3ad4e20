# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the directories of shares on a file system that is managed elsewhere, as far as it lets root, and check them.

A file server may grant root no rights (root_squash), or one owner may have all files (cifs). Then a person makes the
directories there, and the problems name the commands.
"""

from __future__ import annotations

import os
import posixpath
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import (
    NETWORK_TYPES,
    VOLATILE_TYPES,
    Mount,
    is_below,
    mount_containing,
)
from ansible_collections.noslop.studio.plugins.module_utils.studio import MARKER

SHARE_MODE = 0o2775
#: Without these a share's account or the people's group cannot work in it; the group's bit passes the group on.
_NEEDED_MODE = 0o2770


@dataclass(frozen=True)
class Place:
    """The directory of one share, with the account that owns it."""

    name: str
    path: str
    uid: int
    gid: int


def can_be_shared(fstype: str, point: str) -> bool:
    """Return whether a file system may be one that hosts share: a network's, or one that is mounted by itself."""
    return fstype in NETWORK_TYPES or (point != "/" and fstype not in VOLATILE_TYPES)


def find_mount_problem(path: str, table: Sequence[Mount]) -> str:
    """Return why nothing may be made at ``path``: no file system is mounted there. Empty where one is."""
    mount = mount_containing(list(table), path)
    if mount is not None and can_be_shared(mount.fstype, mount.point):
        return ""
    return (
        f"{path} lies on this host's own disk with the operating system, or in its memory. Mount your file system so "
        f"that it holds {path}, under this path on every host; where it is mounted elsewhere, bind it: "
        f"`mount --bind /its/directory {path}`, with a line in /etc/fstab."
    )


def find_missing(place: Place) -> str:
    """Return what is to be done to the directory of a share, empty where it is as it should be."""
    try:
        status = os.stat(place.path, follow_symlinks=False)
    except FileNotFoundError:
        return "it is missing"
    if not stat.S_ISDIR(status.st_mode):
        return "it is no directory"
    if (status.st_uid, status.st_gid) != (place.uid, place.gid):
        return f"it belongs to {status.st_uid}:{status.st_gid}"
    mode = stat.S_IMODE(status.st_mode)
    return "" if mode & _NEEDED_MODE == _NEEDED_MODE else f"its mode is {mode:04o}"


def make(place: Place) -> str:
    """Make the directory of a share, or correct it. Return what prevents that; empty where it is as it should be."""
    try:
        if _holds_foreign_files(place.path):
            return f"it holds files and is no share yet, so that root corrected nothing, and {_look(place)}"
        safe_paths.make_directory(place.path, place.uid, place.gid, SHARE_MODE)
    except OSError as error:
        return f"root could not make or correct it ({error.strerror}), and {_look(place)}"
    return _look(place)


def _holds_foreign_files(path: str) -> bool:
    return os.path.isdir(path) and bool(os.listdir(path)) and not os.path.lexists(os.path.join(path, MARKER))


def make_parent(path: str, mode: int) -> str:
    """Make a directory above a share, as root's. Return what prevents that."""
    try:
        safe_paths.make_directory(path, 0, 0, mode)
    except OSError as error:
        return f"root could not make {path} ({error.strerror})"
    return ""


def _look(place: Place) -> str:
    try:
        return find_missing(place)
    except OSError as error:
        return f"it cannot be looked at ({error.strerror})"


def describe_preparation(places: Sequence[Place], root: str, table: Sequence[Mount]) -> str:
    """Return the commands that make the directories on the file server, and the other way for mounts with one owner."""
    sentences = []
    for mount in _list_mounts(places, table):
        own = [place for place in places if mount_containing(list(table), place.path) == mount]
        relative = {place.path: posixpath.relpath(place.path, mount.point) for place in own}
        above = sorted(
            {parent for path, below in relative.items() if is_below(path, root) for parent in _list_parents(below)}
        )
        commands = [f"install -d -m 0755 {' '.join(map(shlex.quote, above))}"] if above else []
        commands += [
            f"install -d -o {place.uid} -g {place.gid} -m 2775 {shlex.quote(relative[place.path])}" for place in own
        ]
        sentences.append(
            f"On the file server, as root, in the directory that is {mount.source} ({mount.fstype}), run: "
            f"`{'; '.join(commands)}`."
        )
    owners = ", ".join(f"{place.path} with uid={place.uid},gid={place.gid}" for place in places)
    sentences.append(
        "Where a mount gives every file one owner (cifs, sshfs), mount each share by itself, on every host: "
        f"{owners}, and with file_mode=0664,dir_mode=02775 (cifs)."
    )
    return " ".join(sentences)


def _list_mounts(places: Sequence[Place], table: Sequence[Mount]) -> list[Mount]:
    mounts: list[Mount] = []
    for place in places:
        mount = mount_containing(list(table), place.path)
        if mount is not None and mount not in mounts:
            mounts.append(mount)
    return mounts


def _list_parents(relative: str) -> list[str]:
    parts = relative.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts)) if parts[0] not in (".", "..")]
