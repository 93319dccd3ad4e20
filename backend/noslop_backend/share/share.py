# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the projects' share, prove that it is the right one, and read and write below it.

Every path is walked from an open directory of the share's root, one name at a time and without following links, so
that a link that another program puts there leads nowhere. The share's marker is read through the same descriptor that
is then written through: what was checked is what is used, even when something else is mounted meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from noslop_backend.core.errors import ConflictError, ShareUnavailableError, UnsafePathError
from noslop_backend.share import layout
from noslop_backend.share.directories import (
    DIRECTORY_FLAGS,
    is_same_file,
    remove_tree,
)
from noslop_backend.share.file_io import FileContent, Writer, hash_descriptor
from noslop_backend.share.marker import Marker, open_root, read_marker
from noslop_backend.share.no_links import NO_LINKS, rename_new
from noslop_backend.share.os_errors import translate_os_errors

#: To read a file that is one, without waiting where it is a pipe.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Share:
    """The share, open and proved. Paths are a project's id and a path of the layout inside it."""

    def __init__(self, descriptor: int, root: Path, marker: Marker) -> None:
        self._root = descriptor
        self.root = root
        self.marker = marker

    @property
    def descriptor(self) -> int:
        """Return the descriptor of the share's root, for what lies beside the projects (`hidden_dirs`)."""
        return self._root

    def disk(self) -> tuple[int, int]:
        """Return total and free bytes of the file system, as for an ordinary user (statvfs(3))."""
        with self._translated("asking the share for its free space"):
            disk = os.fstatvfs(self._root)
        return disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize

    def projects(self) -> list[str]:
        """Return the names at the root that may be projects, sorted."""
        with self._translated("listing the projects"):
            return sorted(name for name in os.listdir(self._root) if layout.is_project_id(name))

    def make_project(self, project_id: str) -> None:
        """Make a project's directories, as far as they are missing."""
        with self._translated(f"making the directories of {project_id}"):
            make_directory(self._root, project_id)
            with self._directory(project_id) as top:
                for relative in layout.DIRECTORIES:
                    *above, name = relative.split("/")
                    with self._directory(project_id, *above) as parent:
                        make_directory(parent, name)
                os.fsync(top)
            os.fsync(self._root)

    def require_project(self, project_id: str) -> None:
        """Refuse a project whose folder is gone: it was renamed or removed by another program.

        Raises:
            ConflictError: there is no such folder.
        """
        with self._translated(f"looking at {project_id}"):
            try:
                os.stat(project_id, dir_fd=self._root, follow_symlinks=False)
            except FileNotFoundError as error:
                raise ConflictError(
                    f"The folder {project_id} is gone from {self.root}: it was renamed or removed there. Nothing was "
                    "written. 'noslop-backend reconcile' names what lies there, and the command that puts it right."
                ) from error

    def remove_project(self, project_id: str) -> None:
        """Remove a project's directory with all that is in it; links are removed, never followed."""
        with self._translated(f"removing {project_id}"):
            remove_tree(self._root, project_id)
            os.fsync(self._root)

    def create(self, project_id: str, relative: str) -> Writer:
        """Begin a new file; a path that exists is refused."""
        *above, name = layout.split(relative)
        doing = f"writing {project_id}/{relative}"
        with self._translated(doing), self._directory(project_id, *above) as directory:
            descriptor = os.open(name, _CREATE, 0o644, dir_fd=directory)
            try:
                return Writer(descriptor, doing, os.dup(directory))
            except OSError:
                os.close(descriptor)
                raise

    def write(self, project_id: str, relative: str, content: bytes) -> FileContent:
        """Write a small file whole, durable and final, but still unpublished."""
        writer = self.create(project_id, relative)
        try:
            writer.write(content)
            return writer.finish()
        finally:
            writer.close()

    def publish(self, project_id: str, moves: list[tuple[str, str]]) -> None:
        """Link or rename staged files to their final paths, in order, never over anything; durable when it returns.

        Args:
            project_id: the project.
            moves: pairs of the staging and the final path. The last is the one that counts: it is there only when the
                others are.

        Raises:
            FileNotFoundError: a staged file is gone: another process has undone this write.
            ConflictError: something else has a final name.
        """
        doing = f"publishing {project_id}/{moves[-1][1]}"
        with self._translated(doing):
            for staged, final in moves:
                self._publish(project_id, staged, final)
            for directory in sorted({os.path.dirname(final) for _, final in moves}):
                self.sync(project_id, directory)
            with self._directory(project_id, layout.STAGING) as staging:
                for staged, _ in moves:
                    # Gone: the answer to this very unlink was lost on the way (NFS), or another process took the
                    # write over and finishes it; then the last transaction says so.
                    with suppress(FileNotFoundError):
                        os.unlink(os.path.basename(staged), dir_fd=staging)
                os.fsync(staging)

    def _publish(self, project_id: str, staged: str, final: str) -> None:
        """Link a staged file to its final path, or rename it where there are no hard links."""
        if self.link(project_id, staged, final):
            return
        *from_above, from_name = layout.split(staged)
        *to_above, to_name = layout.split(final)
        with self._directory(project_id, *from_above) as one, self.target_directory(project_id, to_above) as two:
            rename_new(one, from_name, two, to_name, f"{project_id}/{final}")

    def link(self, project_id: str, source: str, target: str, *, to_project: str | None = None) -> bool:
        """Link a file to another path, here or in another project; return False where there are no such links."""
        with self._translated(f"linking {project_id}/{source}"):
            try:
                self._link(project_id, source, target, to_project)
            except OSError as error:
                if error.errno in NO_LINKS:
                    return False
                raise
        return True

    def _link(self, project_id: str, source: str, target: str, to_project: str | None = None) -> None:
        *from_above, from_name = layout.split(source)
        *to_above, to_name = layout.split(target)
        receiving = to_project or project_id
        with self._directory(project_id, *from_above) as one, self.target_directory(receiving, to_above) as two:
            try:
                os.link(from_name, to_name, src_dir_fd=one, dst_dir_fd=two, follow_symlinks=False)
            except FileNotFoundError:
                raise
            except OSError as error:
                # The answer to a link that worked may have been lost on the way, and the repetition then fails (NFS).
                if not is_same_file(one, from_name, two, to_name):
                    if isinstance(error, FileExistsError):
                        raise ConflictError(
                            f"{receiving}/{target} is there already, and is not from here. Move it away and try again."
                        ) from error
                    raise

    def move(self, project_id: str, source: str, target: str) -> bool:
        """Move a file to another path, never over anything, making the directories it goes to as needed.

        Can be repeated at any point. The directories are not synced: that is one call each for many moves.

        Returns:
            Whether the file is there now; False when it is under neither name.
        """
        *from_above, from_name = layout.split(source)
        *to_above, to_name = layout.split(target)
        with self._translated(f"moving {project_id}/{source}"):
            if self.look(project_id, source) is None:
                return self.look(project_id, target) is not None
            for depth, name in enumerate(to_above):
                with self._directory(project_id, *to_above[:depth]) as parent:
                    make_directory(parent, name)
            with self._directory(project_id, *from_above) as one, self._directory(project_id, *to_above) as two:
                if not self.link(project_id, source, target):
                    rename_new(one, from_name, two, to_name, f"{project_id}/{target}")
                else:
                    # Gone: the answer to this unlink was lost on the way (NFS), or another process finishes the move.
                    with suppress(FileNotFoundError):
                        os.unlink(from_name, dir_fd=one)
                return True

    def sync(self, project_id: str, relative: str) -> None:
        """Make the names in a directory durable."""
        with (
            self._translated(f"writing the directory {project_id}/{relative}"),
            self._directory(project_id, *layout.split(relative)) as directory,
        ):
            os.fsync(directory)

    def remove(self, project_id: str, relatives: list[str]) -> None:
        """Remove files as far as they are there; durable when it returns."""
        by_directory: dict[str, list[str]] = {}
        for relative in relatives:
            above, _, name = "/".join(layout.split(relative)).rpartition("/")
            by_directory.setdefault(above, []).append(name)
        for above, names in sorted(by_directory.items()):
            with (
                self._translated(f"removing files from {project_id}/{above}"),
                suppress(FileNotFoundError),
                self._directory(project_id, *above.split("/")) as directory,
            ):
                for name in names:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=directory)
                os.fsync(directory)

    def replace_metadata(self, project_id: str, staged: str, content: bytes) -> None:
        """Write metadata.json anew: the only file that is ever replaced."""
        self.remove(project_id, [staged])
        written = self.write(project_id, staged, content)
        with (
            self._translated(f"replacing {project_id}/{layout.METADATA}"),
            self._directory(project_id) as top,
            self._directory(project_id, layout.STAGING) as staging,
        ):
            try:
                os.replace(os.path.basename(staged), layout.METADATA, src_dir_fd=staging, dst_dir_fd=top)
            except FileNotFoundError:
                # The answer to a rename that worked may have been lost on the way (NFS).
                if os.stat(layout.METADATA, dir_fd=top, follow_symlinks=False).st_ino != written.inode:
                    raise
            os.fsync(top)
            os.fsync(staging)

    def open(self, project_id: str, relative: str) -> BinaryIO:
        """Open a file for reading. It has to be an ordinary one."""
        *above, name = layout.split(relative)
        with self._translated(f"reading {project_id}/{relative}"), self._directory(project_id, *above) as directory:
            descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnsafePathError(f"{project_id}/{relative} is not an ordinary file. Look who put it there.")
        return os.fdopen(descriptor, "rb")

    def read(self, project_id: str, relative: str, limit_bytes: int) -> bytes:
        """Read a small file whole."""
        with self._translated(f"reading {project_id}/{relative}"), self.open(project_id, relative) as stream:
            content = stream.read(limit_bytes + 1)
        if len(content) > limit_bytes:
            raise ConflictError(f"{project_id}/{relative} is larger than {limit_bytes} bytes.")
        return content

    def look(self, project_id: str, relative: str) -> os.stat_result | None:
        """Return the state of what is at a path, without following links; None for nothing."""
        *above, name = layout.split(relative)
        with self._translated(f"looking at {project_id}/{relative}"):
            try:
                with self._directory(project_id, *above) as directory:
                    return os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return None

    def sizes(self, project_id: str, relatives: Sequence[str]) -> list[int | None]:
        """Return the size in bytes of each of these files; None where there is no ordinary file, but none or a link.

        Paths of one directory are best given one after the other: then it is opened once.
        """
        sizes: list[int | None] = []
        for above, paths in groupby(map(layout.split, relatives), key=lambda parts: parts[:-1]):
            names = [parts[-1] for parts in paths]
            with self._translated(f"looking at files in {project_id}/{'/'.join(above)}"):
                try:
                    with self._directory(project_id, *above) as directory:
                        sizes += [_size(name, directory) for name in names]
                except FileNotFoundError:
                    sizes += [None] * len(names)
        return sizes

    def hash(self, project_id: str, relative: str) -> FileContent:
        """Read a file through; return its size, hash and time."""
        with self._translated(f"reading {project_id}/{relative}"), self.open(project_id, relative) as stream:
            return hash_descriptor(stream.fileno())

    def names(self, project_id: str, relative: str) -> list[str]:
        """Return the names in a directory of a project, sorted; none when it is not there."""
        with self._translated(f"listing {project_id}/{relative}"):
            try:
                with self._directory(project_id, *layout.split(relative)) as directory:
                    return sorted(os.listdir(directory))
            except FileNotFoundError:
                return []

    @contextmanager
    def directory(self, project_id: str, *parts: str) -> Iterator[int]:
        """Open a directory of a project, for walks that need descriptors of their own."""
        with (
            self._translated(f"opening {'/'.join((project_id, *parts))}"),
            self._directory(project_id, *parts) as descriptor,
        ):
            yield descriptor

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        return translate_os_errors(doing, 0, self._root)

    @contextmanager
    def target_directory(self, project_id: str, parts: list[str]) -> Iterator[int]:
        """Open a directory that a file is published in, making one that projects of earlier versions do not have."""
        if "/".join(parts) in layout.ADDED_DIRECTORIES:
            with self._directory(project_id, *parts[:-1]) as above:
                make_directory(above, parts[-1])
        with self._directory(project_id, *parts) as descriptor:
            yield descriptor

    @contextmanager
    def _directory(self, project_id: str, *parts: str) -> Iterator[int]:
        if not layout.is_project_id(project_id):
            raise UnsafePathError(f"{project_id!r} is no project's id.")
        descriptor = os.open(project_id, DIRECTORY_FLAGS, dir_fd=self._root)
        try:
            for part in parts:
                below = os.open(part, DIRECTORY_FLAGS, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def _size(name: str, directory: int) -> int | None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def make_directory(parent: int, name: str) -> None:
    """Make a directory in an open one, durable when it returns; one that is there already stays.

    Raises:
        UnsafePathError: a link or another kind of file has the name.
    """
    try:
        os.mkdir(name, 0o775, dir_fd=parent)
    except FileExistsError as error:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise UnsafePathError(
                f"A link or another kind of file lies where the directory {name} should be. Nothing was written there. "
                "Look who put it there and move it away."
            ) from error
        return
    os.fsync(parent)


class Tree:
    """The directory of all projects: a share, or a local disk with a marker all the same."""

    def __init__(self, root: Path, studio_id: str) -> None:
        self.root = root
        self.studio_id = studio_id

    @contextmanager
    def open(self, share_id: str | None) -> Iterator[Share]:
        """Open the share and prove that it is the right one.

        Args:
            share_id: which it has to be; None takes whichever it is (the first start).

        Raises:
            ShareUnavailableError: there is no marker, or another one.
        """
        root = open_root(self.root)
        try:
            marker = read_marker(root, self.root, self.studio_id, layout.SHARE)
            if share_id is not None and marker.share_id != share_id:
                raise ShareUnavailableError(
                    f"{self.root} is another share (share_id {marker.share_id}) than the one that the database knows "
                    f"({share_id}). Nothing was changed. Mount the right one, or, if the share was really made anew, "
                    "rebuild the database from it (noslop-backend rebuild)."
                )
            yield Share(root, self.root, marker)
        finally:
            os.close(root)
