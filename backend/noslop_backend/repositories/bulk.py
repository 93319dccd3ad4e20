# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many rows at once, for what comes in as a whole: rebuilt and imported projects. Counters are computed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import insert, tuple_, update
from sqlmodel import Session, col, select

from noslop_backend.models import DocumentModel, FileModel, ProjectModel, ReferenceModel
from noslop_backend.repositories.search import SearchRepository
from noslop_backend.share.layout import title_key

T = TypeVar("T")
#: So many values go into one list of a statement.
SLICE = 500


class BulkRepository:
    """Statements on many rows; nothing else works on these projects meanwhile."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def registered_ids(self, file_ids: Sequence[str]) -> set[str]:
        """Return those of these ids that are a file's."""
        return {
            each
            for some in slices(file_ids)
            for each in self.session.exec(select(FileModel.id).where(col(FileModel.id).in_(some)))
        }

    def registered_documents(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of these ids that are a document's."""
        return {
            each
            for some in slices(document_ids)
            for each in self.session.exec(select(DocumentModel.id).where(col(DocumentModel.id).in_(some)))
        }

    def registered_paths(self, project_id: str, paths: Sequence[str]) -> set[str]:
        """Return those of these visible paths that a project has a row for."""
        return {
            each
            for some in slices(paths)
            for each in self.session.exec(
                select(FileModel.path).where(FileModel.project_id == project_id, col(FileModel.path).in_(some))
            )
        }

    def registered_project(self, project_id: str) -> bool:
        """Return whether there is a project of this id."""
        return self.session.get(ProjectModel, project_id) is not None

    def add_documents(self, documents: Sequence[tuple[str, str, str, str, datetime]]) -> None:
        """Insert documents (id, project, kind, name, created). A name that is taken gets the id behind it."""
        for document_id, project_id, kind, name, created_at in documents:
            taken = self._document_named(project_id, kind, name)
            if taken == document_id:
                continue
            unique = name if taken is None else _with_id(name, document_id)
            self.session.connection().execute(
                insert(DocumentModel).values(
                    id=document_id,
                    project_id=project_id,
                    kind=kind,
                    name=unique,
                    name_key=title_key(unique),
                    created_at=created_at,
                )
            )

    def name_documents(self, project_id: str, names: Mapping[str, str]) -> list[str]:
        """Write the names of documents, by id. A name that is taken gets the id behind it.

        Returns:
            The ids of those that had another name.
        """
        statement = select(DocumentModel).where(DocumentModel.project_id == project_id).order_by(col(DocumentModel.id))
        changed = [row for row in self.session.exec(statement) if names.get(row.id, row.name) != row.name]
        # All of them first, since one may get the name that another one loses.
        for row in changed:
            row.name = row.name_key = row.id
        self.session.flush()
        for row in changed:
            name, taken = names[row.id], self._document_named(project_id, row.kind, names[row.id])
            row.name = name if taken is None else _with_id(name, row.id)
            row.name_key = title_key(row.name)
            self.session.flush()
        return [row.id for row in changed]

    def _document_named(self, project_id: str, kind: str, name: str) -> str | None:
        return self.session.exec(
            select(DocumentModel.id).where(
                DocumentModel.project_id == project_id, DocumentModel.kind == kind, DocumentModel.name == name
            )
        ).first()

    def number_documents(self, last_versions: Mapping[str, int]) -> None:
        """Write which version of each document came last."""
        for document_id, last in last_versions.items():
            self.session.connection().execute(
                update(DocumentModel).where(col(DocumentModel.id) == document_id).values(last_version=last)
            )

    def add_files(self, rows: Sequence[FileModel], texts: Mapping[str, str] | None = None) -> set[str]:
        """Insert files with their entries for the search.

        Args:
            rows: the files.
            texts: contents that the search looks through, by id.

        Returns:
            The paths of those left out because their document has that version already.
        """
        wanted = [(row.document_id, row.version) for row in rows if row.document_id]
        taken: set[tuple[str | None, int | None]] = set()
        for some in slices(wanted):
            taken |= {
                (document_id, version)
                for document_id, version in self.session.exec(
                    select(FileModel.document_id, FileModel.version).where(
                        tuple_(col(FileModel.document_id), col(FileModel.version)).in_(some)
                    )
                )
            }
        left: set[str] = set()
        added = []
        for row in rows:
            if row.document_id:
                if (row.document_id, row.version) in taken:
                    left.add(row.path)
                    continue
                taken.add((row.document_id, row.version))
            added.append(row)
        if added:
            values = [{name: getattr(row, name) for name in FileModel.model_fields} for row in added]
            self.session.connection().execute(insert(FileModel), values)
            SearchRepository(self.session).add_older(added, texts)
        return left

    def number_sidecars(self, last: Mapping[str, int]) -> None:
        """Write which sidecar of each file came last."""
        for file_id, number in last.items():
            self.session.connection().execute(
                update(FileModel).where(col(FileModel.id) == file_id).values(last_sidecar=number)
            )

    def share_content(self, file_ids: Sequence[str]) -> None:
        """Record that these files are one content, which the first pays for."""
        for place, file_id in enumerate(file_ids):
            values: dict[str, object] = {"content_id": file_ids[0]}
            if place:
                values["charged_bytes"] = 0
            self.session.connection().execute(update(FileModel).where(col(FileModel.id) == file_id).values(**values))

    def add_references(self, project_id: str, needs: Mapping[str, Iterable[str]]) -> None:
        """Insert which file needs which; ids that the project does not have are left out."""
        for some in slices(list(needs)):
            wanted = {each for file_id in some for each in needs[file_id]}
            there = set()
            for ids in slices(sorted(wanted | set(some))):
                there |= set(
                    self.session.exec(
                        select(FileModel.id).where(FileModel.project_id == project_id, col(FileModel.id).in_(ids))
                    )
                )
            values = [
                {"from_file_id": file_id, "to_file_id": each}
                for file_id in some
                if file_id in there
                for each in sorted(set(needs[file_id]) & there - {file_id})
            ]
            if values:
                self.session.connection().execute(insert(ReferenceModel), values)


def _with_id(name: str, document_id: str) -> str:
    return f"{name[:180]} ({document_id})"


def slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield values in lists that fit into one statement."""
    for start in range(0, len(values), SLICE):
        yield values[start : start + SLICE]
