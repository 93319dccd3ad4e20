# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read rows, files and statistics; nothing here changes anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self

from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import InProgressError, NotFoundError
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.file_row import location
from noslop_backend.journal.newest_sidecar import revision_of
from noslop_backend.journal.sidecar import LIMIT_BYTES
from noslop_backend.media import probe
from noslop_backend.media.tags import LEFT_OUT
from noslop_backend.models import FileModel
from noslop_backend.repositories import (
    CounterRepository,
    Cursor,
    DocumentRepository,
    FileRepository,
    JobRepository,
    ProjectRepository,
    ReferenceRepository,
    StoreRepository,
)
from noslop_backend.repositories.pages import check_limit
from noslop_backend.schemas import EmbeddedTexts, FilePublic, KindStats, Page, StorageStats, StoreStats
from noslop_backend.services.pages import make_page
from noslop_backend.share import Share
from noslop_backend.share.layout import INTERMEDIATE, FileKind, is_file_id


@dataclass
class OpenFile:
    """A published file, open for reading from the beginning (`stream` can seek). Close it, or use `with`."""

    file: FilePublic
    stream: BinaryIO

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stream.close()


class Queries:
    """The service that reads."""

    def __init__(self, context: StorageContext) -> None:
        self.context = context
        self.database = context.database

    def get_project_files(
        self,
        project_id: str,
        *,
        kinds: frozenset[FileKind] | None = None,
        state: FileState = FileState.PRESENT,
        document_id: str | None = None,
        of_file_id: str | None = None,
        newest_first: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[FilePublic]:
        """List files by when they came. `limit` is 1 to 1000. Sidecars come only when asked for, by kind or file."""
        wanted = frozenset(FileKind) - {FileKind.SIDECAR} if kinds is None else kinds
        if kinds is None and of_file_id is not None:
            wanted = frozenset(FileKind)
        for named in (document_id, of_file_id):
            if named is not None and not is_file_id(named):
                raise NotFoundError(f"The project {project_id} has nothing of the id {named!r}.")
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            rows = FileRepository(session).page(
                project_id,
                kinds=wanted,
                state=state,
                document_id=document_id,
                of_file_id=of_file_id,
                cursor=Cursor.decode(cursor),
                limit=check_limit(limit) + 1,
                newest_first=newest_first,
            )
        return make_page(FilePublic, rows, limit)

    def get_file(self, project_id: str, file_id: str) -> FilePublic:
        """Return one file of a project, in whatever state it is."""
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            return FilePublic.model_validate(FileRepository(session).get(project_id, file_id))

    def trace_document(self, project_id: str, kind: FileKind, name: str) -> tuple[list[FilePublic], list[FilePublic]]:
        """Return all versions of a document, in whatever state, and all files that were made from one of them."""
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            documents = DocumentRepository(session)
            found = documents.named(project_id, kind, name)
            versions = documents.versions(found.id) if found else []
            users = ReferenceRepository(session).users(project_id, [row.id for row in versions])
            return [FilePublic.model_validate(row) for row in versions], [
                FilePublic.model_validate(row) for row in users
            ]

    def get_inputs(self, project_id: str, file_id: str) -> list[FilePublic]:
        """Return the files that a file was made from, in whatever state."""
        with self.database.read() as session:
            wanted = ReferenceRepository(session).inputs(file_id)
            return [FilePublic.model_validate(row) for row in FileRepository(session).some(project_id, sorted(wanted))]

    def open_file(self, project_id: str, file_id: str) -> OpenFile:
        """Open a present file for reading."""
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            row = FileRepository(session).get(project_id, file_id, FileState.PRESENT)
        with self.context.share() as share:
            try:
                return OpenFile(FilePublic.model_validate(row), share.open(project_id, row.path))
            except FileNotFoundError as error:
                if row.intent_id is not None:
                    raise InProgressError(f"{row.path} is just being moved.", retry_after_s=1.0) from error
                raise NotFoundError(
                    f"{project_id}/{row.path} was taken away from the share. Look for it in its backups.",
                    file_id=row.id,
                ) from error

    def load_metadata(self, project_id: str, file_id: str) -> dict[str, Any]:
        """Return the newest sidecar of a file as it is on the share, and the texts that the file embeds.

        Keys `file`, `parameters`, `embedded`, `inputs` and others. What of `embedded` could not be read is below
        `noslop.left_out`.
        """
        with self.database.read() as session:
            files = FileRepository(session)
            row = files.get(project_id, file_id, FileState.PRESENT, FileState.TRASHED)
            sidecars = [one for one in files.sidecars(file_id) if one.state == row.state]
        if not sidecars:
            raise NotFoundError(f"{row.path} has no sidecar.", file_id=file_id)
        newest = max(sidecars, key=revision_of)
        with self.context.share() as share:
            try:
                content = share.read(project_id, location(newest), LIMIT_BYTES)
            except FileNotFoundError as error:
                raise NotFoundError(f"{project_id}/{newest.path} was removed from the share.") from error
            sidecar: dict[str, Any] = json.loads(content)
            if not sidecar.setdefault("embedded", {}) and "embedded_texts" in sidecar:
                sidecar["embedded"] = _read_embedded(share, row, sidecar["embedded_texts"])
        return sidecar

    def get_storage_stats(self, project_id: str) -> StorageStats:
        """Return what a project has and costs, from counters."""
        with self.database.read() as session:
            project = ProjectRepository(session).get(project_id)
            tallies = CounterRepository(session).of(project_id)
        kinds = [KindStats.model_validate(row, from_attributes=True) for row in tallies if row.files_count]

        def count(*wanted: FileKind) -> int:
            return sum(row.files_count for row in kinds if row.state == FileState.PRESENT and row.kind in wanted)

        trash = [row for row in kinds if row.state == FileState.TRASHED]
        return StorageStats(
            project_id=project.id,
            used_bytes=project.used_bytes,
            reserved_bytes=project.reserved_bytes,
            quota_bytes=project.quota_bytes,
            free_bytes=_free(project.quota_bytes, project.used_bytes + project.reserved_bytes),
            storage_size_mb=project.storage_size_mb,
            workflows_count=project.workflows_count,
            media_count=project.media_count,
            image_count=count(FileKind.IMAGE),
            video_count=count(FileKind.VIDEO),
            audio_count=count(FileKind.AUDIO),
            other_count=count(FileKind.OTHER),
            intermediate_count=count(*INTERMEDIATE),
            final_count=count(FileKind.FINAL),
            trash_count=sum(row.files_count for row in trash if row.kind != FileKind.SIDECAR),
            trash_bytes=sum(row.charged_bytes for row in trash),
            kinds=kinds,
        )

    def get_store_stats(self, *, with_disk: bool = False) -> StoreStats:
        """Return what all projects cost together; `with_disk` asks the share too, and may hang with it."""
        with self.database.read() as session:
            totals = ProjectRepository(session).totals()
            store = StoreRepository(session).peek()
            questions = JobRepository(session).questions()
        stats = StoreStats(
            projects_count=totals.projects,
            used_bytes=store.used_bytes,
            reserved_bytes=store.reserved_bytes,
            quota_bytes=store.quota_bytes,
            free_bytes=_free(store.quota_bytes, store.used_bytes + store.reserved_bytes),
            workflows_count=totals.workflows,
            media_count=totals.media,
            questions=questions,
        )
        if with_disk:
            with self.context.share() as share:
                stats.disk_total_bytes, stats.disk_free_bytes = share.disk()
        return stats


def _read_embedded(share: Share, row: FileModel, described: dict[str, Any]) -> dict[str, Any]:
    """Return the texts that a file embeds, from the file; and what of it is not what its sidecar describes."""
    embedded: dict[str, Any] = {}
    try:
        with share.open(row.project_id, location(row)) as stream:
            inspection = probe.inspect(stream, row.content_type)
    except FileNotFoundError:
        why = "the file was removed from the share"
    else:
        embedded, why = inspection.embedded, "the file has other texts than when it was saved"
        texts = EmbeddedTexts.of(embedded)
        if inspection.problem or (texts is not None and texts.blake3 == described.get("blake3")):
            return embedded
    before = embedded.get(LEFT_OUT)
    embedded[LEFT_OUT] = [*(before if isinstance(before, list) else []), {"key": "", "bytes": 0, "why": why}]
    return embedded


def _free(quota_bytes: int | None, taken_bytes: int) -> int | None:
    return None if quota_bytes is None else max(0, quota_bytes - taken_bytes)
