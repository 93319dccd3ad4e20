# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the files of an archive to the share, one after the other, each compared with its line of the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from blake3 import blake3
from sqlmodel import Session

from noslop_backend.archive import manifest
from noslop_backend.archive.manifest import DocumentLine, FileLine, NeedLine, ProjectLine
from noslop_backend.archive.manifest_index import ManifestIndex
from noslop_backend.archive.tar import ArchiveError, TarReader
from noslop_backend.core.enums import FileState, IntentOp, ProjectState
from noslop_backend.core.errors import NotFoundError, QuotaExceededError
from noslop_backend.journal.file_row import file_row
from noslop_backend.journal.intent import IntentHandle, IntentLostError
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.project_metadata import read_metadata
from noslop_backend.journal.searchable import texts_of
from noslop_backend.journal.sidecar import LIMIT_BYTES
from noslop_backend.media.facts import facts_to_json, fields_to_json, read_facts, read_fields
from noslop_backend.models import FileModel
from noslop_backend.models.plans import ImportPlan
from noslop_backend.operations.import_project import show_import
from noslop_backend.repositories import IntentRepository, ProjectRepository, StoreRepository
from noslop_backend.repositories.bulk import BulkRepository
from noslop_backend.share import CHUNK_BYTES, FileContent, Share, hidden_dirs, layout
from noslop_backend.share.layout import FileKind

_ROWS_AT_ONCE = 500


def no_room(first: ProjectLine, used: int, asked: int) -> QuotaExceededError:
    """Return the error of a project that does not fit into its own quota. Sizes are in bytes."""
    quota = first.quota_bytes or 0
    return QuotaExceededError(
        f"The project {first.id} has a quota of {quota} bytes, and the archive needs {used + asked}. Nothing was "
        "imported: raise its quota where it was exported and export it again.",
        scope="project",
        used_bytes=used,
        asked_bytes=asked,
        free_bytes=max(0, quota - used),
    )


class Receiver:
    """Writes the files of one archive to the share, and their rows to the database."""

    def __init__(
        self,
        journal: Journal,
        share: Share,
        index: ManifestIndex,
        handle: IntentHandle[ImportPlan],
        *,
        reader: TarReader,
        rows: IO[bytes],
    ) -> None:
        self.journal = journal
        self.share = share
        self.index = index
        self.handle = handle
        self.reader = reader
        self.rows = rows
        self._files: list[FileModel] = []
        self._texts: dict[str, str] = {}
        self._needs: dict[str, set[str]] = {}
        self._paths: dict[str, tuple[str, int]] = {}

    def run(self) -> dict[str, Any]:
        """Write, publish and show the project. Return the result of the import."""
        project_id = self.handle.project_id
        with hidden_dirs.opened(self.share, hidden_dirs.IMPORTS, self.handle.intent_id, make=True) as place:
            assert place is not None
            place.make_project(project_id)
            self.rows.seek(0)
            for line in manifest.read(self.rows):
                self.journal.renew(self.handle)
                if isinstance(line, DocumentLine):
                    self._document(line)
                elif isinstance(line, FileLine):
                    self._file(place, line)
                elif isinstance(line, NeedLine):
                    self._need(line)
            self._flush()
            self._flush_needs()
            if self.reader.next():
                raise ArchiveError(
                    f"The archive holds {self.reader.name!r}, which its manifest does not list. Nothing was imported."
                )
            self._metadata(place)
            # Each file is on the disk by now; so are all their names before the directory gets its own.
            hidden_dirs.sync_project(place, project_id)
            self.journal.record_plan(self.handle, self.handle.plan, self.handle.reserved_bytes)
            try:
                hidden_dirs.move_in(self.share, place, project_id)
            except FileNotFoundError as error:
                raise IntentLostError from error
        result = self.journal.finish(self.handle, lambda session, _now: show_import(session, project_id))
        hidden_dirs.clear(self.share, self.handle.intent_id)
        return result

    def _document(self, line: DocumentLine) -> None:
        document_id = self.index.new_id(line.id)
        assert document_id is not None
        with self._still_mine() as session:
            bulk = BulkRepository(session)
            bulk.add_documents([(document_id, self.handle.project_id, line.kind, line.name, line.created_at)])
            bulk.number_documents({document_id: line.last_version})

    def _file(self, place: Share, line: FileLine) -> None:
        row = self._row(line)
        lies_at = layout.trash(row.path) if row.state == FileState.TRASHED else row.path
        if row.state == FileState.TRASHED:
            hidden_dirs.make_below(place, self.handle.project_id, lies_at)
        if line.same_as is not None:
            row.charged_bytes = self._shared(place, row, lies_at)
            status = place.look(self.handle.project_id, lies_at)
            assert status is not None
            row.mtime_ns = status.st_mtime_ns
        else:
            written = self._receive(place, line, lies_at)
            row.blake3, row.mtime_ns = written.blake3, written.mtime_ns
            # A sidecar's size changes with the ids in it.
            row.size_bytes = row.charged_bytes = written.size_bytes
        self._files.append(row)
        self._texts |= texts_of(place, [row])
        if len(self._files) >= _ROWS_AT_ONCE:
            self._flush()

    def _row(self, line: FileLine) -> FileModel:
        new = self.index.new_id
        file_id = new(line.id)
        assert file_id is not None
        path = self.index.new_text(line.path.encode()).decode()
        parameters, fields = line.parameters, line.fields
        if self.index.renamed:
            parameters, fields = json.loads(self.index.new_text(json.dumps([parameters, fields]).encode()))
        row = file_row(
            self.handle.project_id,
            layout.trash(path) if line.state == FileState.TRASHED else path,
            row_id=file_id,
            name=line.name,
            content=FileContent(line.size_bytes, line.blake3, 0, 0),
            content_type=line.content_type,
            created_at=line.created_at,
            trashed_at=line.trashed_at,
            parameters=parameters,
            facts=facts_to_json(read_facts(line.facts)),
            fields=fields_to_json(read_fields(fields)),
            document_id=new(line.document_id),
            content_id=new(line.same_as),
            source_id=new(line.source_id),
            last_sidecar=line.last_sidecar,
        )
        row.tags, row.rating = list(line.tags), line.rating
        return row

    def _receive(self, place: Share, line: FileLine, lies_at: str) -> FileContent:
        """Write one file of the archive, and compare it with its line of the manifest."""
        if not self.reader.next():
            raise ArchiveError(
                f"The archive ends before {line.member!r}, which its manifest lists. Copy it again, or export it again."
            )
        if (self.reader.name, self.reader.size_bytes) != (line.member, line.size_bytes):
            raise ArchiveError(
                f"The archive holds {self.reader.name!r} of {self.reader.size_bytes} bytes where its manifest lists "
                f"{line.member!r} of {line.size_bytes} bytes. Nothing was imported."
            )
        rewritten = self.index.renamed and line.kind == FileKind.SIDECAR
        if rewritten and line.size_bytes > LIMIT_BYTES:
            raise ArchiveError(f"{line.member!r} is larger than any sidecar. Nothing was imported.")
        hasher, original = blake3(), bytearray()
        try:
            writer = place.create(self.handle.project_id, lies_at)
        except FileNotFoundError as error:
            raise IntentLostError from error
        try:
            for piece in self.reader.pieces():
                hasher.update(piece)
                if rewritten:
                    original += piece
                else:
                    writer.write(piece)
                self.journal.renew(self.handle)
            if hasher.hexdigest() != line.blake3:
                raise ArchiveError(
                    f"{line.member!r} is damaged: its BLAKE3 is {hasher.hexdigest()}, and the manifest says "
                    f"{line.blake3}. Nothing was imported: copy the archive again, or export it again."
                )
            if rewritten:
                writer.write(self._new_sidecar(line, bytes(original)))
            # Of an intermediate this is all that a rebuild knows of when it was made.
            return writer.finish(int(line.created_at.timestamp() * 1000) * 1_000_000)
        finally:
            writer.close()

    def _new_sidecar(self, line: FileLine, content: bytes) -> bytes:
        """Return a sidecar with the ids that its project has here.

        The content of a document stays as the user saved it, with the old ids in it: its sidecar names what it needs.
        """
        fresh = self.index.new_text(content)
        parsed = layout.parse(line.path)
        assert parsed is not None
        assert line.of_file_id is not None
        needs = self.index.needs(line.of_file_id)
        if parsed.version is None or parsed.revision != 1 or not needs:
            return fresh
        try:
            sidecar = json.loads(fresh)
            sidecar["inputs"] = sorted({*sidecar["inputs"], *needs})
            fresh = json.dumps(sidecar, separators=(",", ":")).encode() + b"\n"
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArchiveError(f"{line.member!r} is no sidecar ({error}). Nothing was imported.") from error
        if len(fresh) > len(content):
            self._reserve(len(fresh) - len(content))
        return fresh

    def _shared(self, place: Share, row: FileModel, lies_at: str) -> int:
        """Link a content that is there already to another path, or copy it. Return the bytes that this costs."""
        source = self._path_of(row.content_id)
        project_id = self.handle.project_id
        try:
            if place.link(project_id, source, lies_at):
                return 0
        except FileNotFoundError as error:
            raise IntentLostError from error
        self._reserve(row.size_bytes)
        row.content_id = row.id
        writer = place.create(project_id, lies_at)
        try:
            with place.open(project_id, source) as stream:
                while piece := stream.read(CHUNK_BYTES):
                    writer.write(piece)
                    self.journal.renew(self.handle)
            writer.finish()
        finally:
            writer.close()
        return row.size_bytes

    def _path_of(self, file_id: str) -> str:
        self._flush()
        with self.journal.database.read() as session:
            row = session.get(FileModel, file_id)
            assert row is not None
            return layout.trash(row.path) if row.state == FileState.TRASHED else row.path

    def _reserve(self, size_bytes: int) -> None:
        """Reserve for a copy where a link was expected."""
        with self.journal.database.write() as session:
            project = ProjectRepository(session).lock(self.handle.project_id)
            if project.quota_bytes is not None and project.reserved_bytes + size_bytes > project.quota_bytes:
                raise no_room(self.index.project, project.reserved_bytes, size_bytes)
            project.reserved_bytes += size_bytes
            session.add(project)
            session.flush()
            reserved = self.handle.reserved_bytes + size_bytes
            if not IntentRepository(session).update(self.handle.intent_id, self.handle.owner, reserved_bytes=reserved):
                raise IntentLostError
            StoreRepository(session).reserve(size_bytes)
        self.handle.reserved_bytes = reserved

    def _need(self, line: NeedLine) -> None:
        self._flush()
        one, two = self.index.new_id(line.from_id), self.index.new_id(line.to_id)
        assert one is not None
        assert two is not None
        if one not in self._needs and len(self._needs) >= _ROWS_AT_ONCE:
            self._flush_needs()
        self._needs.setdefault(one, set()).add(two)

    def _flush(self) -> None:
        if self._files:
            with self._still_mine() as session:
                BulkRepository(session).add_files(self._files, self._texts)
            self._files, self._texts = [], {}

    def _flush_needs(self) -> None:
        if self._needs:
            with self._still_mine() as session:
                BulkRepository(session).add_references(self.handle.project_id, self._needs)
            self._needs = {}

    @contextmanager
    def _still_mine(self) -> Iterator[Session]:
        """Open a transaction that no process which undoes this import can overtake."""
        with self.journal.database.write() as session:
            try:
                ProjectRepository(session).lock(self.handle.project_id, ProjectState.CREATING)
            except NotFoundError as error:
                raise IntentLostError from error
            if not IntentRepository(session).update(
                self.handle.intent_id, self.handle.owner, op=IntentOp.IMPORT_PROJECT
            ):
                raise IntentLostError
            yield session

    def _metadata(self, place: Share) -> None:
        with self.journal.database.read() as session:
            _, content = read_metadata(session, self.handle.project_id)
        place.replace_metadata(self.handle.project_id, layout.staging(self.handle.intent_id), content)
