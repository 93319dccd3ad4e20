#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make and mark the directories that a studio shares.

``ansible.builtin.file`` as root follows links that the owner of a directory above can plant, and knows no marker: on
a server whose disk is not mounted it would make empty shares below the mount point.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: share_directories
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Make and mark the directories that a studio shares
description:
  - Makes the storage root, readable by members of the studio's group only, and one directory for each share, owned by
    its account and writable by that account's group.
  - Changes the owner of a share's content where the directory still belongs to the account that owned every share
    before. A file that has another name outside the share stays as it is.
  - Writes a marker with the studio's id and the share's name to each share, by which every host recognises the right
    one. A directory with another marker is refused.
  - Finds every problem before it changes anything, and works by descriptors, so that the owner of a directory cannot
    redirect a change with a link.
extends_documentation_fragment:
  - noslop.studio.owned_shares
attributes:
  check_mode:
    description: Finds the same problems, and returns what would be made.
    support: full
  diff_mode:
    description: Lists directories and markers with owner and mode.
    support: full
options:
  root:
    description: Directory of the shares that have no path of their own.
    type: path
    required: true
  gid:
    description: Number of the group that may enter the storage root.
    type: int
    required: true
  previous_uid:
    description: Number of the account that owned every share before each had its own.
    type: int
  previous_gid:
    description: Number of that account's group.
    type: int
  min_free_gb:
    description: Free space in gigabytes (10^9 bytes) that every file system with a share must have.
    type: float
    default: 50
  require_own_file_system:
    description: Whether to refuse shares on a file system with other files.
    type: bool
    default: false
  create:
    description: Missing directories that are made. Others must exist already.
    type: str
    choices: [all, below_root]
    default: all
  move_record:
    description:
      - Record of a move of the storage (M(noslop.studio.storage_move)). A host whose shares were moved to another one,
        or are not complete yet, is refused.
    type: path
    default: /var/lib/noslop/storage-move.json
"""

EXAMPLES = r"""
- name: Make the shared directories
  noslop.studio.share_directories:
    root: /mnt/noslop
    shares:
      - {name: projects, path: /mnt/noslop/projects, uid: 2600, gid: 2600}
      - {name: comfyui_models, path: /mnt/noslop/comfyui/models, uid: 2601, gid: 2601}
    studio_id: 7f0c1a52-atelier
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
      description: Name of the share.
      type: str
    path:
      description: Directory of the share.
      type: str
    disk:
      description: Mount point of the file system with the directory; empty for the one of C(/).
      type: str
    file_system_root:
      description: Whether the directory is the root of a file system of its own, which no file handle can leave.
      type: bool
    own_file_system:
      description: Whether the directory lies on a file system with shares only.
      type: bool
    free_gb:
      description: Free space of the file system for ordinary accounts, in gigabytes.
      type: float
    guarded:
      description: Whether a directory above the share denies access to accounts outside the studio's group.
      type: bool
brought_over:
  description: Shares whose content was given to their account.
  type: list
  elements: str
  returned: success
made:
  description: Directories and markers that were made or corrected.
  type: list
  elements: str
  returned: success
problems:
  description: Reasons why nothing was changed.
  type: list
  elements: str
  returned: failure
"""

import os
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths, state
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import (
    Mount,
    is_below,
    parents,
    read_mounts,
)
from ansible_collections.noslop.studio.plugins.module_utils.share import (
    disks,
    markers,
    own_file_system,
    owned_shares,
    path_rules,
)
from ansible_collections.noslop.studio.plugins.module_utils.storage_move import record as storage_record
from ansible_collections.noslop.studio.plugins.module_utils.studio import MARKER

ROOT_MODE = 0o750
PARENT_MODE = 0o755
SHARE_MODE = 0o2775
MARKER_MODE = 0o444


class Maker:
    """Make and correct directories and markers, or in check mode record the changes."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.made: list[str] = []
        self.changed_owner: list[str] = []
        #: directories above shares that deny access to other accounts
        self.guards: set[str] = set()
        self.before: list[str] = []
        self.after: list[str] = []

    def directory(self, path: str, uid: int, gid: int, mode: int) -> None:
        """Make ``path`` with this owner and mode, or correct them."""
        if self._differs(path, uid, gid, mode) and not self.module.check_mode:
            safe_paths.make_directory(path, uid, gid, mode)

    def change_owner(self, path: str, previous: tuple[int | None, int | None], uid: int, gid: int) -> None:
        """Change the owner of ``path`` and its content, where the directory still belongs to the previous account."""
        about = _lstat(path)
        if about is None or about.st_uid != previous[0] or about.st_uid == uid:
            return
        self.changed_owner.append(path)
        self._note(path, f"what {previous[0]} owns in {path}\n", f"the same, owned by {uid}\n")
        if self.module.check_mode:
            return
        # Twice: until the top directory is changed, members can still make files in it as the previous account.
        for __ in range(2):
            from_gids = set() if previous[1] is None else {previous[1]}
            safe_paths.change_owner_tree(path, {about.st_uid}, uid, gid, from_gids)

    def marker(self, directory: str, text: str, uid: int, gid: int) -> str:
        """Make the marker, unless another host was faster. Returns the marker's text as it is now."""
        path = os.path.join(directory, MARKER)
        missing = _lstat(path) is None
        if self._differs(path, uid, gid, MARKER_MODE) and not self.module.check_mode:
            descriptor = safe_paths.open_directory(directory)
            try:
                if missing:
                    return markers.publish(descriptor, MARKER, text, uid, gid, MARKER_MODE)
                kept = safe_paths.read_file(path, markers.LIMIT_BYTES)
                safe_paths.write_file(descriptor, MARKER, kept, uid, gid, MARKER_MODE)
            finally:
                os.close(descriptor)
        return text if missing else read_marker(path)

    def _differs(self, path: str, uid: int, gid: int, mode: int) -> bool:
        wanted = _line(path, uid, gid, mode)
        about = _lstat(path)
        current = "" if about is None else _line(path, about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode))
        if current == wanted:
            return False
        self._note(path, current, wanted)
        return True

    def _note(self, path: str, before: str, after: str) -> None:
        self.made.append(path)
        self.before.append(before)
        self.after.append(after)

    @property
    def diff(self) -> dict[str, str]:
        """Return the differences for ``--diff``."""
        return {"before": "".join(filter(None, self.before)), "after": "".join(self.after)}


def main() -> None:
    """Check everything, then make the root, the shares and the markers."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            **owned_shares.SPEC,
            "gid": {"type": "int", "required": True},
            "previous_uid": {"type": "int"},
            "previous_gid": {"type": "int"},
            "min_free_gb": {"type": "float", "default": 50.0},
            "require_own_file_system": {"type": "bool", "default": False},
            "create": {"type": "str", "choices": ["all", "below_root"], "default": "all"},
            "move_record": {"type": "path", "default": storage_record.PATH},
        },
        supports_check_mode=True,
    )
    params = module.params
    mounts = read_mounts()
    problems = find_problems(params, mounts)
    if problems:
        module.fail_json(msg="The shared directories were not touched. " + " ".join(problems), problems=problems)
    maker = Maker(module)
    try:
        make(maker, params)
        if not module.check_mode:
            storage_record.note_served(params["studio_id"], params["move_record"])
    except (OSError, markers.MarkerError) as error:
        module.fail_json(
            msg=f"The shared directories could not be made: {error}. Look at the file system (is it read-only, does it "
            "refuse root or hard links?) and run again; what was made so far stays and is used.",
            problems=[str(error)],
        )
    module.exit_json(
        changed=bool(maker.made),
        made=maker.made,
        brought_over=maker.changed_owner,
        diff=maker.diff,
        shares=[_describe(share, params["root"], mounts, maker.guards) for share in params["shares"]],
    )


def find_problems(params: dict[str, Any], mounts: list[Mount]) -> list[str]:
    """Return one sentence for each reason not to change anything on this host."""
    root, shares = params["root"], params["shares"]
    problems = path_rules.find_path_problems(root, shares)
    if problems:
        return problems
    try:
        refusal = storage_record.find_refusal(params["studio_id"], params["move_record"])
    except (storage_record.MoveError, OSError) as error:
        refusal = str(error)
    if refusal:
        return [refusal]
    for path in [root, *(share["path"] for share in shares)]:
        problems += markers.find_directory_problems(path)
        problems += markers.find_missing_mounts(path, mounts)
    if not problems:
        problems += markers.find_foreign_entries(root, [share["path"] for share in shares], params["gid"])
        for share in shares:
            missing = not os.path.isdir(share["path"])
            if missing and params["create"] == "below_root" and not is_below(share["path"], root):
                problems.append(
                    f"{share['path']} does not exist and lies outside {root}: make it on the shared file system."
                )
            problems += _wrong_marker(share, params["studio_id"])
        checks = Checks("")
        for paths, free_bytes in state.read_free_space(share["path"] for share in shares):
            host_rules.judge_free_space(checks, paths, free_bytes, params["min_free_gb"], check="storage.room")
        problems += [
            f"{one['seen']}, and {params['min_free_gb']:g} GB are needed: {one['todo']}."
            for one in checks.list
            if not one["ok"]
        ]
        shared = [share["path"] for share in shares if not own_file_system.has_own(mounts, root, share["path"])]
        if shared and params["require_own_file_system"]:
            problems.append(own_file_system.refusal("this host", root, shared))
    return list(dict.fromkeys(problems))


def make(maker: Maker, params: dict[str, Any]) -> None:
    """Make the root, each share and each marker."""
    root, gid = params["root"], params["gid"]
    previous = (params["previous_uid"], params["previous_gid"])
    for parent in _missing_above(root, maker):
        maker.directory(parent, 0, 0, PARENT_MODE)
    maker.directory(root, 0, gid, ROOT_MODE)
    maker.guards.add(root)
    for share in params["shares"]:
        path = share["path"]
        for position, parent in enumerate(_missing_above(path, maker)):
            # Outside the root, the first directory that is made denies access to others as the root does.
            guard = position == 0 and not is_below(path, root)
            if guard:
                maker.guards.add(parent)
            maker.directory(parent, 0, gid if guard else 0, ROOT_MODE if guard else PARENT_MODE)
        maker.change_owner(path, previous, share["uid"], share["gid"])
        maker.directory(path, share["uid"], share["gid"], SHARE_MODE)
        composed = markers.compose(params["studio_id"], share["name"])
        text = maker.marker(path, composed, share["uid"], share["gid"])
        problem = markers.find_problem(text, params["studio_id"], share["name"])
        if problem:
            raise markers.MarkerError(f"{path}: {problem}")


def read_marker(path: str) -> str:
    """Return the text of a marker that is a file, and no link."""
    return safe_paths.read_file(path, markers.LIMIT_BYTES).decode("utf-8", "replace")


def _missing_above(path: str, maker: Maker) -> list[str]:
    """Return the missing directories above ``path``, in check mode without planned ones, the uppermost first."""
    above = reversed(parents(path))
    return [parent for parent in above if not os.path.isdir(parent) and parent not in maker.made]


def _describe(share: dict[str, Any], root: str, mounts: list[Mount], guards: set[str]) -> dict[str, Any]:
    path = share["path"]
    closed = {
        parent for parent in parents(path) if os.path.isdir(parent) and not os.stat(parent).st_mode & stat.S_IXOTH
    }
    return {
        "name": share["name"],
        "path": path,
        "disk": disks.find_disk(path, mounts),
        "own_file_system": own_file_system.has_own(mounts, root, path),
        "file_system_root": own_file_system.has_own(mounts, path, path),
        "free_gb": round(state.read_free_bytes(path) / 1e9, 1),
        "guarded": bool((guards | closed).intersection(parents(path))),
    }


def _wrong_marker(share: dict[str, Any], studio_id: str) -> list[str]:
    path = os.path.join(share["path"], MARKER)
    if not os.path.lexists(path):
        return []
    try:
        problem = markers.find_problem(read_marker(path), studio_id, share["name"])
    except OSError as error:
        problem = f"its marker {MARKER} cannot be read: {error}. Look at what it is, and remove it if it is no file."
    return [f"{share['path']}: {problem}"] if problem else []


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _line(path: str, uid: int, gid: int, mode: int) -> str:
    return f"{mode:04o} {uid}:{gid} {path}\n"


if __name__ == "__main__":
    main()
