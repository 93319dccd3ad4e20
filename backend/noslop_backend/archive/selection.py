# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select files of a project for one zip archive, look for them on the share, and read them into it.

Owns: which files such an archive has, and their names there. Reads the database and the share, and writes neither.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

from noslop_backend.archive import zip_stream
from noslop_backend.archive.reading import open_file
from noslop_backend.archive.zip_stream import Member
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import ConflictError, ContentChangedError, NotFoundError
from noslop_backend.models import FileModel
from noslop_backend.repositories import Cursor, FileRepository, ProjectRepository
from noslop_backend.services import ProjectStorage
from noslop_backend.share import CHUNK_BYTES, layout
from noslop_backend.share.file_names import DistinctPaths
from noslop_backend.share.layout import FileKind

_LOG = logging.getLogger(__name__)
#: A thousand take some 700 KiB of memory while an archive is sent.
FILES_LIMIT = 100_000
#: Files that are looked for at once. On NFS that takes less than a second.
BATCH = 1000
_PAGE = 1000
#: Files that a message names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class SelectedFile(Member):
    """A file of an archive, with its path in the project and the BLAKE3 that its content has to have."""

    source: str
    blake3: str


@dataclass(frozen=True)
class Selection:
    """The files of an archive, in its order, and the size of the whole archive in bytes."""

    project_id: str
    project_name: str
    files: list[SelectedFile]
    archive_bytes: int


def select_files(
    storage: ProjectStorage,
    project_id: str,
    *,
    file_ids: Sequence[str] = (),
    kinds: frozenset[FileKind] | None = None,
    files_limit: int = FILES_LIMIT,
) -> Selection:
    """Select present files of a project for an archive. Asks the database only.

    Args:
        storage: the service.
        project_id: a project in any state.
        file_ids: these files; none for all files of the project.
        kinds: only these kinds of all files; by default all but sidecars.
        files_limit: so many of all files at most.

    Raises:
        NotFoundError: there is no such project, or it has no such file.
        ConflictError: a file that is named is not present, or there are more than `files_limit`.
    """
    with storage.database.read() as session:
        project_name = ProjectRepository(session).get(project_id).name
        files = FileRepository(session)
        if file_ids:
            selected = list(_name_files(_require_present(project_id, file_ids, files)))
        else:
            wanted = frozenset(FileKind) - {FileKind.SIDECAR} if kinds is None else kinds
            selected = list(_name_files(_list_present(files, project_id, wanted, files_limit)))
    return Selection(project_id, project_name, selected, zip_stream.measure(selected))


def check_files(storage: ProjectStorage, selection: Selection, start: int) -> None:
    """Look on the share for `BATCH` files of a selection, from the one of this number on.

    Raises:
        NotFoundError: a file is gone from the share.
        ConflictError: a file has another size than it was saved with.
    """
    files = selection.files[start : start + BATCH]
    sizes = _find_sizes(storage, selection.project_id, [file.source for file in files])
    if gone := [file.source for file, size in zip(files, sizes, strict=True) if size is None]:
        raise NotFoundError(
            f"Files were taken away from the share: {_list_some(gone)}. Nothing was sent. Look for them in its "
            "backups; 'noslop-backend reconcile' marks them as missing, and the others can be downloaded then.",
            paths=gone[:_NAMED],
        )
    if changed := [file.source for file, size in zip(files, sizes, strict=True) if size != file.size_bytes]:
        raise ConflictError(
            f"Files have other sizes than they were saved with: {_list_some(changed)}. Nothing was sent. Bring them "
            "back from the share's backups, or name other files with `file_id`.",
            paths=changed[:_NAMED],
        )


def read_archive(
    storage: ProjectStorage, selection: Selection, piece_bytes: int = CHUNK_BYTES
) -> Generator[bytes, None, None]:
    """Write the archive of a selection in pieces of some `piece_bytes`. Each step reads from the share.

    Raises:
        ContentChangedError: a file is not what was saved. Then the archive has no end that a program could open.
        FileNotFoundError: a file was purged meanwhile.
    """
    return zip_stream.stream(selection.files, lambda file: _read(storage, selection.project_id, file, piece_bytes))


def _require_present(project_id: str, file_ids: Sequence[str], files: FileRepository) -> list[FileModel]:
    rows = files.some(project_id, sorted(set(file_ids)))
    if unknown := sorted(set(file_ids) - {row.id for row in rows}):
        raise NotFoundError(f"The project {project_id} has no files of these ids: {_list_some(unknown)}.")
    if away := [row for row in rows if row.state != FileState.PRESENT]:
        raise ConflictError(
            f"Files are not present: {_list_some([f'{row.id} is {row.state}' for row in away])}. Nothing was sent. "
            "Restore them, or leave them out.",
            file_ids=[row.id for row in away[:_NAMED]],
        )
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def _list_present(
    files: FileRepository, project_id: str, kinds: frozenset[FileKind], files_limit: int
) -> Iterator[FileModel]:
    cursor, count = None, 0
    while rows := files.page(
        project_id,
        kinds=kinds,
        state=FileState.PRESENT,
        document_id=None,
        of_file_id=None,
        cursor=cursor,
        limit=_PAGE,
        newest_first=False,
    ):
        count += len(rows)
        if count > files_limit:
            raise ConflictError(
                f"The project {project_id} has more than {files_limit} such files, and an archive has at most that "
                "many. Ask for one kind after the other, or let the administrator export it (noslop-backend export)."
            )
        yield from rows
        cursor = Cursor(rows[-1].created_at, rows[-1].id)


def _name_files(rows: Iterable[FileModel]) -> Iterator[SelectedFile]:
    """Yield the files with their paths in the archive: the layout's folder, and the name that the user knows."""
    paths = DistinctPaths()
    for row in rows:
        folder, _, file_name = row.path.rpartition("/")
        extension = os.path.splitext(file_name)[1].removeprefix(".")
        mark = "" if row.version is None else f"_v{row.version:04d}"
        path = paths.allocate(folder, row.name, extension, mark)
        yield SelectedFile(path, row.size_bytes, row.created_at, row.path, row.blake3)


def _find_sizes(storage: ProjectStorage, project_id: str, paths: list[str]) -> list[int | None]:
    with storage.share() as share:
        sizes = share.sizes(project_id, paths)
        # Moved to the trash since its row was read, or back while it was looked for there.
        for find_other in (layout.trash, str):
            missing = [number for number, size in enumerate(sizes) if size is None]
            others = share.sizes(project_id, [find_other(paths[number]) for number in missing])
            for number, size in zip(missing, others, strict=True):
                sizes[number] = size
    return sizes


def _read(storage: ProjectStorage, project_id: str, file: SelectedFile, piece_bytes: int) -> Iterator[bytes]:
    hasher, size = blake3(), 0
    with storage.share() as share:
        stream = open_file(share, project_id, file.source)
    with stream:
        while size <= file.size_bytes and (piece := stream.read(piece_bytes)):
            hasher.update(piece)
            size += len(piece)
            yield piece
    if hasher.hexdigest() != file.blake3:
        message = f"{project_id}/{file.source} is not what was saved: an archive of it ends before its end."
        _LOG.error("%s Run 'noslop-backend reconcile', and bring the file back from the share's backups.", message)
        raise ContentChangedError(message)


def _list_some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
