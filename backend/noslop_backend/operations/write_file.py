# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a new media file or intermediate, whose bytes come in piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp
from noslop_backend.core.errors import ConflictError
from noslop_backend.journal import publish
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import IntentHandle, Request, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.media.types import MediaType
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import PlannedFile, WritePlan
from noslop_backend.schemas import FileCreate
from noslop_backend.share import FileContent, Share, layout
from noslop_backend.share.layout import FileKind


@dataclass(frozen=True)
class StagedContent:
    """What lies whole in `.staging`, and what was observed of it on the way in (the parameter `media`)."""

    media_type: MediaType
    content: FileContent
    facts: dict[str, Any] | None = None


class WriteFile(publish.WriteOperation[WritePlan]):
    """A new file. Between `prepare` and `execute` its bytes come in, and `staged` says what they are."""

    kind = IntentOp.WRITE

    def __init__(self, project_id: str, kind: FileKind | None, details: FileCreate, key: str | None) -> None:
        request = Request(key, (kind, details.arguments()))
        super().__init__(project_id, request, reserve_bytes=details.length or 0)
        self.file_kind = kind
        self.details = details
        self.staged: StagedContent | None = None

    def prepare(self, session: Session, intent: IntentModel, _now: datetime) -> WritePlan:
        """Keep the inputs, and give the file its ids."""
        publish.reserve_inputs(session, intent, self.details.inputs)
        return WritePlan(file=planned_file(self.file_kind, self.details))

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[WritePlan]) -> Result:
        """Publish what was staged, with its sidecar."""
        staged = self.staged
        if staged is None:
            raise ConflictError("The content of this file has not come in whole. Send it again.")
        main = publish.main_row(handle, staged.media_type, staged.content)
        if staged.facts is not None:
            main.parameters = main.parameters | {"media": staged.facts}
        lies_at = layout.staging(handle.intent_id, publish.MAIN_PART)
        with share.open(handle.project_id, lies_at) as stream:
            inspection = publish.inspect_new(stream, staged.media_type.content_type, handle.plan.file)
        mentioned = publish.record_inspection(handle.plan.file, main, inspection)
        rows = publish.stage_rows(share, handle, main)
        return publish.publish_staged(journal, share, handle, rows, mentioned)


def planned_file(kind: FileKind | None, details: FileCreate) -> PlannedFile:
    """Return what the plan of a new file holds from the beginning."""
    return PlannedFile(
        id=StorageContext.new_id(),
        sidecar_id=StorageContext.new_id(),
        kind=kind,
        name=details.name,
        parameters=details.parameters,
        inputs=details.inputs,
        inspect=details.inspect,
    )
