# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a further sidecar beside a file; the newest counts, and older ones stay."""

from __future__ import annotations

import json
from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal import publish
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import IntentHandle, Request, Result
from noslop_backend.journal.journal import Journal, require_unclaimed
from noslop_backend.journal.sidecar import Sidecar, SidecarDocument
from noslop_backend.media.types import MediaType
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import PlannedDocument, PlannedFile, SidecarPlan, copy_row
from noslop_backend.repositories import DocumentRepository, FileRepository
from noslop_backend.schemas import FileCreate
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import WITH_SIDECAR, FileKind


class SaveMetadata(publish.WriteOperation[SidecarPlan]):
    """A further sidecar. What is embedded in the file is read out into it again."""

    kind = IntentOp.WRITE

    def __init__(self, project_id: str, file_id: str, details: FileCreate, key: str | None) -> None:
        super().__init__(project_id, Request(key, ("sidecar", file_id, details.model_dump(mode="json"))))
        self.file_id = file_id
        self.details = details

    def prepare(self, session: Session, intent: IntentModel, _now: datetime) -> SidecarPlan:
        """Keep the file and the inputs from removal, and allocate a number."""
        files = FileRepository(session)
        row = files.get(self.project_id, self.file_id, FileState.PRESENT)
        if FileKind(row.kind) not in WITH_SIDECAR:
            raise InvalidRequestError(f"{row.path} is {row.kind}: it has no sidecar. Promote it first.")
        require_unclaimed([row])
        publish.reserve_inputs(session, intent, [*self.details.inputs, row.id])
        document = DocumentRepository(session).of_id(row.document_id) if row.document_id else None
        planned, before = PlannedDocument.of(document) if document else None, copy_row(row)
        # Two further sidecars at once would each repeat what the other one changes.
        files.claim_files([row], intent.id)
        return SidecarPlan(
            file=PlannedFile(sidecar_id=StorageContext.new_id(), document=planned),
            of=before,
            revision=files.next_sidecar(row.id),
        )

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[SidecarPlan]) -> Result:
        """Write the sidecar and publish it."""
        of, spec = handle.plan.of, handle.plan.file
        inputs, parameters = self.details.inputs, self.details.parameters
        media_type = MediaType(FileKind(of.kind), of.content_type, "")
        texts = publish.read_embedded(share, handle.project_id, of.path, media_type)
        document = SidecarDocument.of(spec.document) if spec.document else None
        content = Sidecar.of(
            of, spec.sidecar_id, document=document, embedded=texts, inputs=inputs, parameters=parameters
        ).to_bytes()
        row = publish.sidecar_row(of, spec.sidecar_id, content, handle.moment, handle.plan.revision)
        publish.stage(share, handle, publish.MAIN_PART, content)
        mentioned = layout.ids_in_text(json.dumps([parameters, texts])) | set(inputs)
        publish.record_rows(journal, handle, [row], mentioned - {of.id})
        share.publish(handle.project_id, [(layout.staging(handle.intent_id, publish.MAIN_PART), row.path)])
        return publish.finish_rows(journal, share, handle)
