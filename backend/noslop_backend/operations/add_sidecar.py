# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a further sidecar beside a file: the newest one with other labels or parameters. Older ones stay.

The sidecar of the highest number counts, so the row of the file is brought up to it in the last transaction.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TypeVar

from pydantic import JsonValue
from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.journal import newest_sidecar, publish
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import IntentHandle, Request, Result
from noslop_backend.journal.journal import Journal, require_unclaimed
from noslop_backend.journal.sidecar import Sidecar, keep_origin
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import PlannedDocument, PlannedFile, SidecarPlan
from noslop_backend.repositories import DocumentRepository, FileRepository
from noslop_backend.schemas import FileLabels
from noslop_backend.share import Share, layout

S = TypeVar("S", bound=SidecarPlan)


class AddSidecar(publish.WriteOperation[S]):
    """A further sidecar. The file is claimed until it is written: no two changes of it overlap."""

    kind = IntentOp.WRITE

    def __init__(self, project_id: str, file_id: str, request: Request) -> None:
        super().__init__(project_id, request)
        self.file_id = file_id

    def get_row(self, session: Session) -> FileModel:
        """Return the row of the file, which has to be present, and on which nothing else works."""
        row = FileRepository(session).get(self.project_id, self.file_id, FileState.PRESENT)
        require_unclaimed([row])
        return row

    @staticmethod
    def plan_file(session: Session, row: FileModel) -> PlannedFile:
        """Return what the plan of a sidecar of this file contains."""
        document = DocumentRepository(session).of_id(row.document_id) if row.document_id else None
        return PlannedFile(
            sidecar_id=StorageContext.new_id(), document=PlannedDocument.of(document) if document else None
        )

    def claim(self, session: Session, intent: IntentModel, row: FileModel, inputs: list[str]) -> int:
        """Claim the file, keep it and the inputs from removal, and allocate the number of the sidecar."""
        files = FileRepository(session)
        publish.reserve_inputs(session, intent, [*inputs, row.id])
        files.claim_files([row], intent.id)
        return files.next_sidecar(row.id)

    @abstractmethod
    def change(self, plan: S, newest: Sidecar) -> tuple[FileLabels, Mapping[str, JsonValue]]:
        """Return the labels and the parameters that the file has from now on."""

    def complete(self, _plan: S, sidecar: Sidecar) -> Sidecar:
        """Return the sidecar with whatever else the file has from now on."""
        return sidecar

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[S]) -> Result:
        """Write the sidecar and publish it."""
        plan, of = handle.plan, handle.plan.of
        newest = newest_sidecar.read_newest(share, of, plan.revision - 1) or _first_sidecar(share, plan)
        labels, parameters = self.change(plan, newest)
        revised = newest.revise(plan.file.sidecar_id, labels, keep_origin(of.parameters, parameters), plan.file.inputs)
        sidecar = self.complete(plan, revised)
        content = sidecar.to_bytes()
        row = publish.sidecar_row(of, plan.file.sidecar_id, content, handle.moment, plan.revision)
        row.name = labels.name
        publish.stage(share, handle, publish.MAIN_PART, content)
        publish.record_rows(journal, handle, [row], sidecar.needs())
        share.publish(handle.project_id, [(layout.staging(handle.intent_id, publish.MAIN_PART), row.path)])
        return publish.finish_rows(journal, share, handle)


def _first_sidecar(share: Share, plan: SidecarPlan) -> Sidecar:
    """Return a sidecar of a file whose sidecars are gone or damaged."""
    of, planned = plan.of, plan.file.model_copy()
    inspection = publish.inspect(share, of.project_id, of.path, of.content_type)
    publish.record_inspection(planned, of, inspection)
    return Sidecar.from_bytes(publish.compose_sidecar(planned, of))
