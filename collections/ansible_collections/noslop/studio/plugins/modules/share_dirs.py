#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the directories that a studio shares, and mark each as what it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: share_dirs
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Make and mark the directories that a studio shares
description:
  - Makes the storage root, readable by members of the studio's group only, and one directory for each share, owned by
    the service account and writable by its group.
  - Puts a marker into each share that carries the studio's id and the share's name, by which every host proves that
    it sees the right one. A directory that carries another marker is refused.
  - Finds every problem before it changes anything. What the directories hold is neither read nor changed.
attributes:
  check_mode:
    description: Finds the same problems, and says what would be made.
    support: full
  diff_mode:
    description: Lists directories and markers with owner and mode.
    support: full
options:
  root:
    description: Directory that holds the shares which have no place of their own.
    type: path
    required: true
  shares:
    description: What is shared.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The share's name.
        type: str
        required: true
      path:
        description: Its directory.
        type: path
        required: true
  studio_id:
    description: Identity of the studio.
    type: str
    required: true
  uid:
    description: Number of the account that owns the shares.
    type: int
    required: true
  gid:
    description: Number of the group that may write to them.
    type: int
    required: true
  min_free_gb:
    description: How many gigabytes (10^9 bytes) every file system that holds a share must have free.
    type: float
    default: 50
  create:
    description: Which missing directories to make. Others must be there already.
    type: str
    choices: [all, below_root]
    default: all
"""

EXAMPLES = r"""
- name: Make the shared directories
  noslop.studio.share_dirs:
    root: /mnt/noslop
    shares: "{{ lookup('noslop.studio.shares') | map('ansible.builtin.dict2items') }}"
    studio_id: 7f0c1a52-atelier
    uid: 2600
    gid: 2600
"""

RETURN = r"""
shares:
  description: The shares as they are now.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The share's name.
      type: str
    path:
      description: Its directory.
      type: str
    mount_point:
      description: Whether the directory is the root of a file system of its own.
      type: bool
    free_gb:
      description: What the file system has free for ordinary accounts, in gigabytes.
      type: float
    guarded:
      description: Whether a directory above the share keeps out accounts that are not in the studio's group.
      type: bool
made:
  description: Directories and markers that were made or corrected.
  type: list
  elements: str
  returned: success
problems:
  description: Why nothing was done.
  type: list
  elements: str
  returned: failure
"""

import contextlib
import os
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import share_markers, share_paths
from ansible_collections.noslop.studio.plugins.module_utils.mounts import (
    Mount,
    is_below,
    mount_at,
    parents,
    parse_mountinfo,
)
from ansible_collections.noslop.studio.plugins.module_utils.studio import MARKER

ROOT_MODE = 0o750
PARENT_MODE = 0o755
SHARE_MODE = 0o2775
MARKER_MODE = 0o444


class Maker:
    """Makes what is missing and corrects what differs, or in check mode says so."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.made: list[str] = []
        #: directories above shares that keep others out
        self.guards: set[str] = set()
        self.before: list[str] = []
        self.after: list[str] = []

    def directory(self, path: str, uid: int, gid: int, mode: int) -> None:
        """Make ``path`` with this owner and mode, or correct them."""
        wanted = _line(path, uid, gid, mode)
        found = _lstat(path)
        seen = "" if found is None else _line(path, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
        if seen == wanted:
            return
        self._note(path, seen, wanted)
        if self.module.check_mode:
            return
        if found is None:
            with contextlib.suppress(FileExistsError):  # another host, on a file system that both have mounted
                os.mkdir(path, 0o700)
        os.chown(path, uid, gid)
        os.chmod(path, mode)

    def marker(self, path: str, text: str, uid: int, gid: int) -> str:
        """Make the marker, unless another host was faster. Gives the marker's text as it is now."""
        wanted = _line(path, uid, gid, MARKER_MODE)
        found = _lstat(path)
        if found is not None:
            seen = _line(path, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
            if seen != wanted:
                self._note(path, seen, wanted)
                if not self.module.check_mode:
                    os.chown(path, uid, gid, follow_symlinks=False)
                    os.chmod(path, MARKER_MODE)
            return share_markers.read(path)
        self._note(path, "", wanted)
        if self.module.check_mode:
            return text
        return share_markers.publish(path, text, uid, gid, MARKER_MODE)

    def _note(self, path: str, before: str, after: str) -> None:
        self.made.append(path)
        self.before.append(before)
        self.after.append(after)

    @property
    def diff(self) -> dict[str, str]:
        """What ``--diff`` shows."""
        return {"before": "".join(filter(None, self.before)), "after": "".join(self.after)}


def main() -> None:
    """Check everything, then make what is missing."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "shares": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "path": {"type": "path", "required": True},
                },
            },
            "studio_id": {"type": "str", "required": True},
            "uid": {"type": "int", "required": True},
            "gid": {"type": "int", "required": True},
            "min_free_gb": {"type": "float", "default": 50.0},
            "create": {"type": "str", "choices": ["all", "below_root"], "default": "all"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        mounts = parse_mountinfo(stream.read())
    problems = find_problems(asked, mounts)
    if problems:
        module.fail_json(msg="The shared directories were not touched. " + " ".join(problems), problems=problems)
    maker = Maker(module)
    try:
        make(maker, asked)
    except (OSError, share_markers.MarkerError) as error:
        module.fail_json(
            msg=f"The shared directories could not be made: {error}. Look at the file system (is it read-only, does it "
            "refuse root or hard links?) and run again; what was made so far stays and is used.",
            problems=[str(error)],
        )
    module.exit_json(
        changed=bool(maker.made),
        made=maker.made,
        diff=maker.diff,
        shares=[_describe(share, mounts, maker.guards) for share in asked["shares"]],
    )


def find_problems(asked: dict[str, Any], mounts: list[Mount]) -> list[str]:
    """One sentence for each reason not to touch anything on this host."""
    root, shares = asked["root"], asked["shares"]
    problems = share_paths.path_problems(root, shares)
    if problems:
        return problems
    for path in [root, *(share["path"] for share in shares)]:
        problems += share_markers.not_a_directory(path)
        problems += _unmounted(path, mounts)
    if not problems:
        problems += share_markers.strangers_in_root(root, [share["path"] for share in shares], asked["gid"])
        for share in shares:
            missing = not os.path.isdir(share["path"])
            if missing and asked["create"] == "below_root" and not is_below(share["path"], root):
                problems.append(
                    f"{share['path']} does not exist and lies outside {root}: make it on the shared file system."
                )
            problems += _wrong_marker(share, asked["studio_id"])
        problems += _too_full(shares, asked["min_free_gb"])
    return list(dict.fromkeys(problems))


def make(maker: Maker, asked: dict[str, Any]) -> None:
    """Make the root, each share and each marker."""
    root, uid, gid = asked["root"], asked["uid"], asked["gid"]
    for parent in _missing_above(root, maker):
        maker.directory(parent, 0, 0, PARENT_MODE)
    maker.directory(root, 0, gid, ROOT_MODE)
    maker.guards.add(root)
    for share in asked["shares"]:
        path = share["path"]
        for position, parent in enumerate(_missing_above(path, maker)):
            # Outside the root, the first directory that we make keeps others out as the root does.
            guard = position == 0 and not is_below(path, root)
            if guard:
                maker.guards.add(parent)
            maker.directory(parent, 0, gid if guard else 0, ROOT_MODE if guard else PARENT_MODE)
        maker.directory(path, uid, gid, SHARE_MODE)
        text = maker.marker(
            os.path.join(path, MARKER), share_markers.compose(asked["studio_id"], share["name"]), uid, gid
        )
        problem = share_markers.problem(text, asked["studio_id"], share["name"])
        if problem:
            raise share_markers.MarkerError(f"{path}: {problem}")


def _missing_above(path: str, maker: Maker) -> list[str]:
    """Directories above ``path`` that are neither there nor, in check mode, promised; the uppermost first."""
    above = reversed(parents(path))
    return [parent for parent in above if not os.path.isdir(parent) and parent not in maker.made]


def _describe(share: dict[str, Any], mounts: list[Mount], guards: set[str]) -> dict[str, Any]:
    path = share["path"]
    closed = {
        parent for parent in parents(path) if os.path.isdir(parent) and not os.stat(parent).st_mode & stat.S_IXOTH
    }
    return {
        "name": share["name"],
        "path": path,
        "mount_point": mount_at(mounts, path) is not None,
        "free_gb": round(_free_bytes(path) / 1e9, 1),
        "guarded": bool((guards | closed).intersection(parents(path))),
    }


def _unmounted(path: str, mounts: list[Mount]) -> list[str]:
    """Refuse to make directories where a disk should be: they would be hidden as soon as it is back."""
    return [
        f"{path} lies on {point}, which /etc/fstab names and which is not mounted. "
        f"Mount it (mount {point}), and run again."
        for point in share_markers.fstab_points()
        if is_below(path, point) and mount_at(mounts, point) is None
    ]


def _wrong_marker(share: dict[str, Any], studio_id: str) -> list[str]:
    path = os.path.join(share["path"], MARKER)
    if not os.path.lexists(path):
        return []
    try:
        problem = share_markers.problem(share_markers.read(path), studio_id, share["name"])
    except OSError as error:
        problem = f"its marker cannot be read: {error}"
    return [f"{share['path']}: {problem}"] if problem else []


def _too_full(shares: list[dict[str, Any]], min_free_gb: float) -> list[str]:
    """Ask each file system once, whatever number of shares it holds."""
    by_device: dict[int, list[str]] = {}
    for share in shares:
        by_device.setdefault(os.stat(_nearest(share["path"])).st_dev, []).append(share["path"])
    return [
        f"The file system of {', '.join(paths)} has {_free_bytes(paths[0]) / 1e9:.1f} GB free, and {min_free_gb:g} GB "
        "are needed. Make room, choose a path on a larger disk, or lower noslop_min_free_gb."
        for paths in by_device.values()
        if _free_bytes(paths[0]) < min_free_gb * 1e9
    ]


def _free_bytes(path: str) -> int:
    """What ordinary accounts may still write; the blocks reserved for root do not help a studio."""
    system = os.statvfs(_nearest(path))
    return system.f_bavail * system.f_frsize


def _nearest(path: str) -> str:
    return next(directory for directory in [path, *parents(path)] if os.path.isdir(directory))


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _line(path: str, uid: int, gid: int, mode: int) -> str:
    return f"{mode:04o} {uid}:{gid} {path}\n"


if __name__ == "__main__":
    main()
