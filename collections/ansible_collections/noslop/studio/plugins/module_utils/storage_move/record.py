# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record on each host of a move how far it is, so that neither serves the shares while it must not.

The record outlives the run: it is what keeps an old inventory from making empty shares on the old server, and a new one
from serving a copy that is not complete.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.studio import STATE_DIR

PATH = f"{STATE_DIR}/storage-move.json"
SOURCE, TARGET = "source", "target"
COPYING, LEAVING, SWITCHED, SERVED = "copying", "leaving", "switched", "served"
_LIMIT_BYTES = 64 * 1024


class MoveError(Exception):
    """The move cannot go on. The message contains the next step."""


@dataclass(frozen=True)
class Move:
    """A move as one host has it.

    Attributes:
        studio_id: the studio.
        part: ``source`` for the old server, ``target`` for the new one.
        stage: ``copying`` until this host has done its part of the switch, then ``switched``; on the old server
            ``leaving`` while its shares are set aside and compared a last time, and on the new one ``served`` when it
            has served the shares, so that the move cannot be given up any more.
        peer: the other host's name in the inventory.
        stamp: names the directories with the kept files; the time when the move began, such as ``20260102T030405``.
    """

    studio_id: str
    part: str
    stage: str
    peer: str
    stamp: str


def read(path: str = PATH) -> Move | None:
    """Return the move that this host has a record of.

    Raises:
        MoveError: the record cannot be parsed.
    """
    try:
        return Move(**json.loads(safe_paths.read_file(path, _LIMIT_BYTES)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise MoveError(f"{path} cannot be read: {error}. Look at it, and remove it if no storage is moved.") from error


def write(move: Move, path: str = PATH) -> None:
    """Write the record, whole and on the disk."""
    directory, name = os.path.split(path)
    safe_paths.make_directory(directory, 0, 0, 0o755)
    descriptor = safe_paths.open_directory(directory)
    try:
        safe_paths.write_file(descriptor, name, json.dumps(asdict(move)).encode(), 0, 0, 0o600)
    finally:
        os.close(descriptor)


def remove(path: str = PATH) -> None:
    """Remove the record, if there is one."""
    if os.path.lexists(path):
        safe_paths.remove_tree(path)


def note_served(studio_id: str, path: str = PATH) -> None:
    """Record on the new server that it serves the shares now."""
    move = read(path)
    if move and (move.studio_id, move.part, move.stage) == (studio_id, TARGET, SWITCHED):
        write(replace(move, stage=SERVED), path)


def find_refusal(studio_id: str, path: str = PATH) -> str:
    """Return why this host must not serve the shares of a studio now; empty where it may."""
    move = read(path)
    if move is None or move.studio_id != studio_id:
        return ""
    if move.part == SOURCE and move.stage == LEAVING:
        return (
            f"The storage of this studio is being moved from this host to {move.peer}, and that run was interrupted. "
            f"Run `noslop-driver host move-storage {move.peer}` again; with --undo it is given up."
        )
    if move.part == SOURCE and move.stage == SWITCHED:
        return (
            f"The storage of this studio was moved from this host to {move.peer}. Put {move.peer} into the group "
            f"storage_server, and this host into storage_clients. To move it back, when {move.peer} serves it: "
            "`noslop-driver host move-storage` with the name of this host."
        )
    if move.part == TARGET and move.stage == COPYING:
        return (
            f"The storage of this studio is being moved here from {move.peer}, and is not complete. Leave {move.peer} "
            "in the group storage_server, and run `noslop-driver host move-storage` with the name of this host again; "
            "with --undo it is given up."
        )
    return ""
