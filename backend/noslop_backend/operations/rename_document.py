# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rename a workflow or prompt: its row, metadata.json, and what its versions are found by.

Versions keep the name under which they were saved: they never change. The row changes in the first transaction, so
that a renaming is only ever finished.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp, IntentState
from noslop_backend.core.errors import ConflictError
from noslop_backend.journal.intent import (
    AlreadyAnsweredError,
    FileLockedError,
    IntentHandle,
    Operation,
    Request,
    Result,
)
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.project_metadata import write_metadata
from noslop_backend.journal.searchable import texts_of
from noslop_backend.models import DocumentModel, IntentModel
from noslop_backend.models.plans import RenamePlan, WritePlan, read_plan
from noslop_backend.repositories import DocumentRepository, IntentRepository, ProjectRepository, SearchRepository
from noslop_backend.schemas import DocumentPublic
from noslop_backend.share import Share
from noslop_backend.share.layout import FileKind


class RenameDocument(Operation[RenamePlan]):
    """Another name of a workflow or prompt. A name that it has already changes nothing."""

    kind = IntentOp.UPDATE_PROJECT

    def __init__(self, project_id: str, kind: FileKind, document_id: str, name: str, key: str | None) -> None:
        super().__init__(project_id, Request(key, ("rename", kind, document_id, name)))
        self.document_kind = kind
        self.document_id = document_id
        self.name = name

    def prepare(self, session: Session, _intent: IntentModel, now: datetime) -> RenamePlan:
        """Change the row, where no other document has the name and no version is being saved."""
        documents, projects = DocumentRepository(session), ProjectRepository(session)
        document = documents.get(self.project_id, self.document_kind, self.document_id)
        if document.name == self.name:
            raise AlreadyAnsweredError(_answer(document))
        for other in documents.alike(self.project_id, self.document_kind, self.name):
            if other.id != document.id:
                raise ConflictError(
                    f"Another {self.document_kind} of {self.project_id} is called {other.name!r}. Take another name, "
                    "or rename that one first.",
                    document_id=other.id,
                )
        _require_no_save(session, self.project_id, self.document_id)
        before = document.name
        documents.rename(document, self.name)
        projects.change(projects.lock(self.project_id), {}, now)
        return RenamePlan(
            document_id=document.id,
            operation=f"rename_{self.document_kind}",
            details={"document_id": document.id, "before": before, "name": self.name},
        )

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[RenamePlan]) -> Result:
        """Write metadata.json, and what the versions are found by."""
        return _write(journal, share, handle)

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[RenamePlan]) -> IntentState:
        """Write both again."""
        _write(journal, share, handle)
        return IntentState.DONE


def _require_no_save(session: Session, project_id: str, document_id: str) -> None:
    """Refuse while a version is being saved: it would come under the name from before.

    Raises:
        FileLockedError: one is.
    """
    for intent in IntentRepository(session).open_in(project_id):
        plan = read_plan(intent)
        if isinstance(plan, WritePlan) and plan.file.document is not None and plan.file.document.id == document_id:
            raise FileLockedError(intent.id)


def _write(journal: Journal, share: Share, handle: IntentHandle[RenamePlan]) -> Result:
    write_metadata(journal, share, handle)
    document_id = handle.plan.document_id
    with journal.database.read() as session:
        versions = DocumentRepository(session).versions(document_id)
    texts: dict[str, str] = {}
    for version in versions:
        journal.renew(handle)
        texts |= texts_of(share, [version])

    def apply(session: Session, _now: datetime) -> Result:
        documents = DocumentRepository(session)
        SearchRepository(session).replace(documents.versions(document_id), texts)
        document = documents.of_id(document_id)
        assert document is not None, "documents are removed with their projects only"
        return _answer(document)

    return journal.finish(handle, apply)


def _answer(document: DocumentModel) -> Result:
    return {"document": DocumentPublic.model_validate(document).model_dump(mode="json")}
