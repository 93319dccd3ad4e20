# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export a project to one archive. Files stream through it; each is compared with the hash in its row."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from blake3 import blake3

from noslop_backend.archive import manifest
from noslop_backend.archive.manifest import DocumentLine, FileLine, NeedLine, ProjectLine
from noslop_backend.archive.reading import open_file
from noslop_backend.archive.tar import TarWriter
from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState, ProjectState
from noslop_backend.core.errors import ConflictError
from noslop_backend.journal import audit
from noslop_backend.models import FileModel
from noslop_backend.repositories.exports import ExportCRUD
from noslop_backend.repositories.projects import ProjectRepository
from noslop_backend.services import ProjectStorage
from noslop_backend.share import CHUNK_BYTES, Share


@dataclass
class ExportReport:
    """What an archive contains."""

    project_id: str
    files_count: int
    documents_count: int
    total_bytes: int
    #: Rows whose files are missing on the share, and which the archive therefore does not have.
    left_out_count: int
    archive_bytes: int = 0


def export_to(core: ProjectStorage, project_id: str, target: Path, *, without_missing: bool = False) -> ExportReport:
    """Write an archive of a project to a new file; it has its name only when it is whole and on the disk.

    Args:
        core: the service.
        project_id: a project that is present or in the trash.
        target: a path that does not exist.
        without_missing: leave out what was taken away from the share, instead of refusing.

    Raises:
        ConflictError: `target` exists, or a file is missing or is not what it was when it was saved.
        NotFoundError: no such project.
    """
    if os.path.lexists(target):
        raise ConflictError(f"{target} is there already. Name a file that does not exist: nothing is written over.")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        # Closed by the `with` below: only opening it fails for reasons that are about the directory.
        stream = open(part, "xb", opener=_private)  # noqa: SIM115 - see above
    except OSError as error:
        raise ConflictError(f"{part.parent} takes no file: {error.strerror}. Name another directory.") from error
    try:
        with stream:
            report = export(core, project_id, stream, without_missing=without_missing)
            stream.flush()
            os.fsync(stream.fileno())
            report.archive_bytes = os.fstat(stream.fileno()).st_size
        try:
            os.link(part, target)
        except FileExistsError as error:
            raise ConflictError(f"{target} was made meanwhile by another program. Name another file.") from error
        except OSError:
            # No hard links there (a USB stick): the path did not exist a moment ago.
            os.rename(part, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)
    _sync_directory(target.parent)
    return report


def export(core: ProjectStorage, project_id: str, stream: BinaryIO, *, without_missing: bool = False) -> ExportReport:
    """Write an archive of a project to a stream, which need not be able to seek. See `export_to`."""
    with tempfile.TemporaryFile() as rows, core.share() as share:
        first, left_out = _write_rows(core, project_id, rows, without_missing)
        # Before the first byte leaves: an export that breaks off has given some of it away.
        with core.database.write() as session:
            counted = {"files_count": first.files_count, "total_bytes": first.total_bytes}
            audit.record(session, first.exported_at, "export_project", project_id=project_id, details=counted)
        head = manifest.write(first)
        writer = TarWriter(stream)
        size, hasher = len(head) + rows.tell(), blake3()
        moment = manifest.seconds(first.exported_at)
        writer.add(manifest.MANIFEST, size, _hashed(hasher, _pieces(head, rows)), moment)
        checksum = f"{hasher.hexdigest()}  {manifest.MANIFEST}\n".encode()
        writer.add(manifest.CHECKSUM, len(checksum), iter([checksum]), moment)
        rows.seek(0)
        for line in manifest.read(_WithHead(head, rows)):
            if isinstance(line, FileLine) and line.same_as is None:
                _write_file(writer, share, project_id, line)
        writer.end()
    return ExportReport(project_id, first.files_count, first.documents_count, first.total_bytes, left_out)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _write_rows(
    core: ProjectStorage, project_id: str, rows: IO[bytes], without_missing: bool
) -> tuple[ProjectLine, int]:
    """Write all lines but the first, which has their number. Return that line, and how many files are left out."""
    files = documents = total = 0
    with core.database.read() as session:
        lines = ExportCRUD(session)
        project = ProjectRepository(session).get(project_id, ProjectState.PRESENT, ProjectState.TRASHED)
        now = clock(session)
        missing = lines.missing(project_id)
        if missing and not without_missing:
            raise ConflictError(
                f"{missing} files of {project_id} were taken away from the share. Bring them back (`noslop-backend "
                "reconcile` lists them), or export what is left with --without-missing."
            )
        for document in lines.documents(project_id):
            rows.write(manifest.write(DocumentLine.model_validate(document, from_attributes=True)))
            documents += 1
        for row, same_as in lines.files(project_id):
            rows.write(manifest.write(_file_line(row, same_as)))
            files += 1
            total += 0 if same_as else row.size_bytes
        for from_id, to_id in lines.needs(project_id):
            rows.write(manifest.write(NeedLine(from_id=from_id, to_id=to_id)))
        values = {name: getattr(project, name) for name in ProjectLine.model_fields if hasattr(project, name)}
    first = ProjectLine(
        **values,
        exported_at=now,
        studio_id=core.settings.studio_id,
        documents_count=documents,
        files_count=files,
        total_bytes=total,
    )
    return first, missing


def _file_line(row: FileModel, same_as: str | None) -> FileLine:
    values = {name: getattr(row, name) for name in FileLine.model_fields if hasattr(row, name)}
    return FileLine(**values, same_as=same_as)


def _write_file(writer: TarWriter, share: Share, project_id: str, line: FileLine) -> None:
    hasher = blake3()
    try:
        with open_file(share, project_id, line.path, trashed=line.state == FileState.TRASHED) as stream:
            pieces = _hashed(hasher, iter(lambda: stream.read(CHUNK_BYTES), b""))
            writer.add(line.member, line.size_bytes, pieces, manifest.seconds(line.created_at))
    except (FileNotFoundError, ValueError) as error:
        reason = "it is gone" if isinstance(error, FileNotFoundError) else "it has another size"
        raise ConflictError(
            f"{project_id}/{line.lies_at} was changed from outside, or removed just now ({reason}). Nothing was "
            "exported: run `noslop-backend reconcile`, then export again."
        ) from error
    if hasher.hexdigest() != line.blake3:
        raise ConflictError(
            f"{project_id}/{line.lies_at} is not what was saved: its BLAKE3 is {hasher.hexdigest()}, and {line.blake3} "
            "was recorded. Nothing was exported: run `noslop-backend reconcile`, then export again."
        )


def _hashed(hasher: blake3, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        hasher.update(piece)
        yield piece


def _pieces(head: bytes, rows: IO[bytes]) -> Iterator[bytes]:
    yield head
    rows.seek(0)
    while piece := rows.read(CHUNK_BYTES):
        yield piece


class _WithHead:
    """The lines of a manifest whose first line is not in the file of the others."""

    def __init__(self, head: bytes, rows: IO[bytes]) -> None:
        self._head = head
        self._rows = rows

    def readline(self, limit: int = -1, /) -> bytes:
        """Return the next line."""
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._rows.readline(limit)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
