# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what a file says of itself, where that was not done when it was saved.

In its row and in a further sidecar; of files without sidecars (intermediates) in the row only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from pydantic import JsonValue
from sqlmodel import Session

from noslop_backend.journal import newest_sidecar
from noslop_backend.journal.intent import AlreadyAnsweredError, Request
from noslop_backend.journal.sidecar import Sidecar
from noslop_backend.media.facts import facts_to_json, fields_to_json
from noslop_backend.media.probe import Inspection
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import SidecarPlan, copy_row
from noslop_backend.operations.add_sidecar import AddSidecar
from noslop_backend.repositories import ReferenceRepository
from noslop_backend.schemas import EmbeddedTexts, FileLabels, FilePublic
from noslop_backend.share import layout
from noslop_backend.share.layout import WITH_SIDECAR, FileKind


class RecordInspection(AddSidecar[SidecarPlan]):
    """Facts, fields and references of a present file."""

    def __init__(self, project_id: str, file_id: str, inspection: Inspection) -> None:
        super().__init__(project_id, file_id, Request())
        self.facts, self.fields = facts_to_json(inspection.facts), fields_to_json(inspection.fields)
        self.embedded_texts = EmbeddedTexts.of(inspection.embedded)
        self.references = layout.ids_in_text(json.dumps(inspection.embedded))

    def prepare(self, session: Session, intent: IntentModel, _now: datetime) -> SidecarPlan:
        """Claim the file, and allocate the number of its sidecar. A file without sidecars ends here."""
        row = self.get_row(session)
        if FileKind(row.kind) not in WITH_SIDECAR:
            row.facts, row.fields = self.facts, self.fields
            newest_sidecar.apply_labels(session, row, newest_sidecar.labels_of(row), {})
            references = ReferenceRepository(session)
            references.add(self.project_id, row.id, self.references - references.inputs(row.id))
            raise AlreadyAnsweredError({"file": FilePublic.model_validate(row).model_dump(mode="json")})
        file, before = self.plan_file(session, row), copy_row(row)
        return SidecarPlan(file=file, of=before, revision=self.claim(session, intent, row, []))

    def change(self, plan: SidecarPlan, newest: Sidecar) -> tuple[FileLabels, Mapping[str, JsonValue]]:
        """Return labels and parameters as they are."""
        return newest_sidecar.labels_of(plan.of), newest.parameters

    def complete(self, plan: SidecarPlan, sidecar: Sidecar) -> Sidecar:
        """Add what the file says of itself. A final needs nothing of what it was made from."""
        references = set() if plan.of.kind == FileKind.FINAL else self.references
        return sidecar.model_copy(
            update={
                "facts": self.facts,
                "fields": self.fields,
                "embedded_texts": self.embedded_texts,
                "references": sorted({*sidecar.references} | references),
            }
        )
