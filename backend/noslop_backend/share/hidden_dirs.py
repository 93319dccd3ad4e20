# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the hidden directories beside the projects: projects that are being imported, and backups of versions before.

The root has no other visible entries than projects, so these are hidden directories of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from noslop_backend.core.errors import ConflictError
from noslop_backend.share import layout
from noslop_backend.share.directories import DIRECTORY_FLAGS, remove_tree
from noslop_backend.share.os_errors import translate_os_errors
from noslop_backend.share.share import Share, make_directory

BACKUPS = ".backups"
IMPORTS = ".imports"
#: Holds the generation of the database that wrote here last.
GENERATION = ".generation"
NAMES = (BACKUPS, IMPORTS, GENERATION)
_DEAD = "undone"


@contextmanager
def opened(share: Share, *names: str, make: bool = False) -> Iterator[Share | None]:
    """Open a hidden directory of the root as a share of its own; None when it is not there and not to be made."""
    with translate_os_errors(f"opening {'/'.join(names)} on the share"):
        descriptor = _walked(share, names, make)
    try:
        yield None if descriptor < 0 else Share(descriptor, share.root.joinpath(*names), share.marker)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _walked(share: Share, names: tuple[str, ...], make: bool) -> int:
    descriptor = os.dup(share.descriptor)
    try:
        for name in names:
            if make:
                make_directory(descriptor, name)
            below = os.open(name, DIRECTORY_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    except FileNotFoundError:
        os.close(descriptor)
        return -1
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def names(place: Share) -> list[str]:
    """Return the names in a hidden directory, sorted."""
    with translate_os_errors(f"listing {place.root}"):
        return sorted(os.listdir(place.descriptor))


def move_in(share: Share, place: Share, project_id: str) -> None:
    """Make a directory that lies whole and durable in a hidden place a project: one rename, all of it or nothing.

    Raises:
        FileNotFoundError: it is gone: another process has undone this import.
        ConflictError: the share has a project of this id.
    """
    layout.split(project_id)
    with translate_os_errors(f"publishing {project_id}"):
        # A directory replaces an empty one only (rename(2)), and no project is empty.
        try:
            os.rename(project_id, project_id, src_dir_fd=place.descriptor, dst_dir_fd=share.descriptor)
        except OSError as error:
            if has_project(share, project_id) and has_project(place, project_id):
                raise ConflictError(f"{share.root / project_id} is there already. Look who put it there.") from error
            # The answer to a rename that worked may have been lost on the way (NFS).
            if not has_project(share, project_id):
                raise
        os.fsync(share.descriptor)
        os.fsync(place.descriptor)


def has_project(place: Share, project_id: str) -> bool:
    """Return whether a directory of this name is there."""
    with translate_os_errors(f"looking for {project_id}"):
        try:
            os.stat(project_id, dir_fd=place.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
    return True


def disown(share: Share, intent_id: str, project_id: str) -> None:
    """Rename a directory that is being imported, so that the process that imports it cannot publish it any more.

    The project itself gets another name, so that even a rename through an open descriptor of its place finds nothing.
    """
    with opened(share, IMPORTS, intent_id) as place:
        if place is None:
            return
        with translate_os_errors(f"undoing the import of {project_id}"):
            with suppress(FileNotFoundError):
                os.rename(project_id, _DEAD, src_dir_fd=place.descriptor, dst_dir_fd=place.descriptor)
            os.fsync(place.descriptor)


def clear(share: Share, intent_id: str) -> None:
    """Remove what is left of an import that was published or disowned."""
    with opened(share, IMPORTS) as place:
        if place is None:
            return
        with translate_os_errors("removing what is left of an import"):
            remove_tree(place.descriptor, intent_id)
            os.fsync(place.descriptor)


def make_below(place: Share, project_id: str, relative: str) -> None:
    """Make the directories above a path in the trash, which come and go."""
    parts = layout.split(relative)[:-1]
    for depth, name in enumerate(parts):
        with place.directory(project_id, *parts[:depth]) as above:
            make_directory(above, name)


def sync_project(place: Share, project_id: str) -> None:
    """Make every name in a project durable."""
    for directory in ("", *layout.DIRECTORIES, *(layout.trash(each) for each in layout.DIRECTORIES)):
        with (
            suppress(FileNotFoundError),
            place.directory(project_id, *(directory.split("/") if directory else ())) as opened_,
        ):
            os.fsync(opened_)
