# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write workflows and prompts by name, and count their versions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, update
from sqlmodel import Session, col, select

from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import NotFoundError
from noslop_backend.models import DocumentModel, FileModel
from noslop_backend.repositories.pages import Cursor, paged
from noslop_backend.share.layout import FileKind, is_file_id, normalize_title, title_key, title_problem


class DocumentRepository:
    """Statements on `document`, and on its versions, which are rows of `file`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def named(self, project_id: str, kind: FileKind, name: str) -> DocumentModel | None:
        """Return the document that people call by this name.

        That is the one of exactly this name; else the one whose name differs in case, spaces or the composition of
        letters only. Older databases may hold several of those: of them the one in normal form, then the oldest.
        """
        normal = normalize_title(name)
        matches = self.alike(project_id, kind, name)
        return min(
            matches, key=lambda row: (row.name != name, row.name != normal, row.created_at, row.id), default=None
        )

    def alike(self, project_id: str, kind: FileKind, name: str) -> list[DocumentModel]:
        """Return all documents whose names are this one, or differ in case, spaces and composition only."""
        if title_problem(name):
            return []
        values = {"of_project": project_id, "of_kind": kind, "of_key": title_key(name)}
        return list(self.session.exec(_NAMED, params=values))

    def rename(self, document: DocumentModel, name: str) -> None:
        """Change the name of a document."""
        document.name, document.name_key = name, title_key(name)
        self.session.add(document)
        self.session.flush()

    def exactly_named(self, project_id: str, kind: FileKind, name: str) -> DocumentModel | None:
        """Return the document of exactly this name: for what the share says of documents."""
        found = self.named(project_id, kind, name)
        return found if found is not None and found.name == name else None

    def get(self, project_id: str, kind: FileKind, document_id: str) -> DocumentModel:
        """Return the document of this id.

        Raises:
            NotFoundError: there is none of this kind in the project.
        """
        found = self.session.get(DocumentModel, document_id) if is_file_id(document_id) else None
        if found is None or (found.project_id, found.kind) != (project_id, kind):
            raise NotFoundError(f"The project {project_id} has no {kind} {document_id!r}.")
        return found

    def of_id(self, document_id: str) -> DocumentModel | None:
        """Return the document of this id, whatever it is; None where there is none."""
        return self.session.get(DocumentModel, document_id)

    def add(self, document_id: str, project_id: str, kind: FileKind, name: str, moment: datetime) -> DocumentModel:
        """Insert a document without versions."""
        row = DocumentModel(
            id=document_id, project_id=project_id, kind=kind, name=name, name_key=title_key(name), created_at=moment
        )
        self.session.add(row)
        self.session.flush()
        return row

    def next_version(self, document_id: str) -> int:
        """Allocate a number. It is never given again, whatever becomes of the write."""
        return int(self.session.connection().execute(_NEXT_VERSION, {"of_id": document_id}).scalar_one())

    def raise_last_version(self, document_id: str, number: int) -> None:
        """Reserve all numbers up to this one: none of them is given again."""
        self.session.connection().execute(
            update(DocumentModel)
            .where(col(DocumentModel.id) == document_id, col(DocumentModel.last_version) < number)
            .values(last_version=number)
        )

    def version_ids(self, project_id: str) -> set[str]:
        """Return the ids of all versions of all documents of a project, in whatever state."""
        statement = select(FileModel.id).where(
            FileModel.project_id == project_id, col(FileModel.kind).in_([FileKind.WORKFLOW, FileKind.PROMPT])
        )
        return set(self.session.exec(statement))

    def count_versions(self, document_id: str, more: int) -> int:
        """Count present versions up or down; gives how many workflows there are more by that: 1, 0 or -1."""
        now, kind = self.session.connection().execute(_COUNT, {"of_id": document_id, "more": more}).one()
        return (int(now > 0) - int(now - more > 0)) if kind == FileKind.WORKFLOW else 0

    def version(self, document_id: str, version: int | None = None) -> FileModel | None:
        """Return a present version; the latest by default."""
        if version is None:
            return self.session.exec(_LATEST, params={"of_id": document_id}).first()
        statement = select(FileModel).where(FileModel.document_id == document_id, FileModel.state == FileState.PRESENT)
        return self.session.exec(statement.where(FileModel.version == version)).first()

    def apart_from_versions(self, project_id: str) -> list[DocumentModel]:
        """Return documents whose number or name is in their row only, oldest first.

        Their newest version has no file any more, or was saved under another name.
        """
        newest = select(FileModel.id).where(
            FileModel.document_id == DocumentModel.id,
            FileModel.version == DocumentModel.last_version,
            FileModel.name == DocumentModel.name,
            col(FileModel.state).in_([FileState.PRESENT, FileState.TRASHED]),
        )
        return list(
            self.session.exec(
                select(DocumentModel)
                .where(DocumentModel.project_id == project_id, DocumentModel.last_version > 0, ~newest.exists())
                .order_by(col(DocumentModel.created_at), col(DocumentModel.id))
            )
        )

    def versions(self, document_id: str) -> list[FileModel]:
        """Return all versions, in whatever state, oldest first."""
        return list(
            self.session.exec(
                select(FileModel).where(FileModel.document_id == document_id).order_by(col(FileModel.version))
            )
        )

    def page(
        self, project_id: str, kind: FileKind, cursor: Cursor | None, limit: int, *, newest_first: bool
    ) -> list[DocumentModel]:
        """Return some documents that have a version, by when they were made."""
        statement = select(DocumentModel).where(
            DocumentModel.project_id == project_id, DocumentModel.kind == kind, col(DocumentModel.versions_count) > 0
        )
        statement = paged(statement, DocumentModel, cursor, limit, newest_first=newest_first)
        return list(self.session.exec(statement))


# Built once, as in `projects`.
_HERE = col(DocumentModel.id) == bindparam("of_id")
_NAMED = select(DocumentModel).where(
    col(DocumentModel.project_id) == bindparam("of_project"),
    col(DocumentModel.kind) == bindparam("of_kind"),
    col(DocumentModel.name_key) == bindparam("of_key"),
)
_NEXT_VERSION = (
    update(DocumentModel)
    .where(_HERE)
    .values(last_version=col(DocumentModel.last_version) + 1)
    .returning(col(DocumentModel.last_version))
)
_COUNT = (
    update(DocumentModel)
    .where(_HERE)
    .values(versions_count=col(DocumentModel.versions_count) + bindparam("more"))
    .returning(col(DocumentModel.versions_count), col(DocumentModel.kind))
)
_LATEST = (
    select(FileModel)
    .where(col(FileModel.document_id) == bindparam("of_id"), col(FileModel.state) == FileState.PRESENT)
    .order_by(col(FileModel.version).desc())
    .limit(1)
)
