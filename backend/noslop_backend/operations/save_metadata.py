# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Save other parameters of a file, and further inputs, in its row and in a further sidecar.

What was given before is replaced. What the backend itself wrote stays: of which output of ComfyUI the file comes, what
decoding it showed, its inputs and what it embeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import JsonValue
from sqlmodel import Session

from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal import newest_sidecar
from noslop_backend.journal.intent import Request
from noslop_backend.journal.sidecar import Sidecar, keep_origin
from noslop_backend.journal.validation import validate_details
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import SidecarPlan, copy_row
from noslop_backend.operations.add_sidecar import AddSidecar
from noslop_backend.schemas import FileCreate, FileLabels
from noslop_backend.share.layout import WITH_SIDECAR, FileKind


class SaveMetadata(AddSidecar[SidecarPlan]):
    """Other parameters, and further inputs."""

    def __init__(self, project_id: str, file_id: str, details: FileCreate, key: str | None) -> None:
        super().__init__(project_id, file_id, Request(key, ("sidecar", file_id, details.arguments())))
        self.details = details

    def prepare(self, session: Session, intent: IntentModel, _now: datetime) -> SidecarPlan:
        """Claim the file, keep it and the inputs from removal, and allocate a number.

        Raises:
            InvalidRequestError: it has no sidecars, or with what stays the parameters are too large.
        """
        row = self.get_row(session)
        if FileKind(row.kind) not in WITH_SIDECAR:
            raise InvalidRequestError(f"{row.path} is {row.kind}: it has no sidecar. Promote it first.")
        parameters = keep_origin(row.parameters, self.details.parameters)
        # With what stays they may be too large.
        file = self.plan_file(session, row).model_copy(
            update={
                "parameters": validate_details("-", parameters=parameters).parameters,
                "inputs": self.details.inputs,
            }
        )
        before = copy_row(row)
        return SidecarPlan(file=file, of=before, revision=self.claim(session, intent, row, self.details.inputs))

    def change(self, plan: SidecarPlan, _newest: Sidecar) -> tuple[FileLabels, Mapping[str, JsonValue]]:
        """Return the labels as they are, and the parameters that were given."""
        return newest_sidecar.labels_of(plan.of), plan.file.parameters
