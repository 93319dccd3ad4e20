# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Save the next version of a workflow or prompt."""

from __future__ import annotations

from datetime import datetime

from blake3 import blake3
from sqlmodel import Session

from noslop_backend.core.enums import IntentOp
from noslop_backend.journal import publish
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import AlreadyAnsweredError, IntentHandle, Request, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.media.types import MediaType
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import PlannedDocument, PlannedFile, WritePlan
from noslop_backend.repositories import DocumentRepository, ReferenceRepository
from noslop_backend.schemas import FileCreate, FilePublic
from noslop_backend.share import FileContent, Share, layout

#: Key of an answer that is a version from before.
UNCHANGED = "unchanged"


class SaveVersion(publish.WriteOperation[WritePlan]):
    """A version of a document. When the latest one has the same content, inputs and parameters, that is the answer."""

    kind = IntentOp.WRITE

    def __init__(
        self,
        project_id: str,
        media_type: MediaType,
        name: str,
        details: FileCreate,
        body: bytes,
        *,
        key: str | None,
    ) -> None:
        """Describe the version.

        Args:
            project_id: the project.
            media_type: a workflow or prompt, and how its content is written.
            name: as it was given: a document of an older version may have just that.
            details: the rest, with the name in normal form for a document that is new.
            body: the content.
            key: idempotency key.
        """
        self.media_type = media_type
        self.name = name
        self.details = details
        self.body = body
        self.digest = blake3(body).hexdigest()
        self.sidecar = b""
        kind, extension = media_type.kind, media_type.extension
        arguments = (kind, name, self.digest, extension, sorted(details.inputs), details.parameters)
        super().__init__(project_id, Request(key, arguments), reserve_bytes=len(body))

    def prepare(self, session: Session, intent: IntentModel, now: datetime) -> WritePlan:
        """Find or make the document, and allocate a number."""
        documents, kind, details = DocumentRepository(session), self.media_type.kind, self.details
        document = documents.named(self.project_id, kind, self.name)
        if document is None:
            document = documents.add(StorageContext.new_id(), self.project_id, kind, details.name, now)
        latest = documents.version(document.id)
        if (
            latest is not None
            and (latest.blake3, latest.content_type) == (self.digest, self.media_type.content_type)
            and all(
                name in latest.parameters and latest.parameters[name] == value
                for name, value in details.parameters.items()
            )
            and set(details.inputs) <= ReferenceRepository(session).inputs(latest.id)
        ):
            raise AlreadyAnsweredError(
                {"file": FilePublic.model_validate(latest).model_dump(mode="json"), UNCHANGED: True}
            )
        publish.reserve_inputs(session, intent, details.inputs)
        planned = PlannedFile(
            id=StorageContext.new_id(),
            sidecar_id=StorageContext.new_id(),
            kind=kind,
            name=document.name,
            parameters=details.parameters,
            inputs=details.inputs,
            document=PlannedDocument.of(document),
            version=documents.next_version(document.id),
        )
        # The content is whole before anything is written, so the rows can be planned at once.
        content = FileContent(len(self.body), self.digest, 0, 0)
        main = publish.planned_row(self.project_id, planned, now, self.media_type, content)
        self.sidecar = publish.compose_sidecar(planned, main)
        sidecar = publish.sidecar_row(main, planned.sidecar_id, self.sidecar, now)
        mentioned = layout.ids_in_text(self.body.decode("utf-8", "replace"))
        return WritePlan(
            file=planned, rows=[main, sidecar], references=sorted({*details.inputs, *mentioned} - {main.id})
        )

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[WritePlan]) -> Result:
        """Write the version and its sidecar, and publish both."""
        publish.stage(share, handle, publish.MAIN_PART, self.body)
        publish.stage(share, handle, publish.SIDECAR_PART, self.sidecar)
        journal.renew(handle)
        return publish.publish_rows(journal, share, handle)
