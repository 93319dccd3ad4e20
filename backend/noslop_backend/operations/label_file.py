# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label a file: its name, its tags and its stars, in its row and in a further sidecar.

Files without sidecars (intermediates) have labels in the database only. A path keeps the slug of the name that the file
was saved under: other programs refer to it, and its id is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import JsonValue
from sqlmodel import Session

from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal import audit, newest_sidecar
from noslop_backend.journal.intent import AlreadyAnsweredError, Request, Result
from noslop_backend.journal.sidecar import Sidecar
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import LabelPlan, copy_row
from noslop_backend.operations.add_sidecar import AddSidecar
from noslop_backend.schemas import FileLabels, FilePublic, FileUpdate
from noslop_backend.schemas.labels import TAGS_LIMIT
from noslop_backend.share.layout import DOCUMENTS, WITH_SIDECAR, FileKind


class LabelFile(AddSidecar[LabelPlan]):
    """Another name, other tags or other stars of a present file. What changes nothing writes nothing."""

    def __init__(self, project_id: str, file_id: str, change: FileUpdate, key: str | None) -> None:
        arguments = ("labels", file_id, change.model_dump(mode="json", exclude_unset=True))
        super().__init__(project_id, file_id, Request(key, arguments))
        self.update = change

    def prepare(self, session: Session, intent: IntentModel, now: datetime) -> LabelPlan:
        """Claim the file, and allocate the number of its sidecar. A file without sidecars ends here."""
        row = self.get_row(session)
        labels = _changed_labels(row, self.update)
        if labels == newest_sidecar.labels_of(row):
            raise AlreadyAnsweredError(_answer(row))
        if FileKind(row.kind) not in WITH_SIDECAR:
            newest_sidecar.apply_labels(session, row, labels, {})
            audit.record(session, now, "update_file", project_id=self.project_id, details=audit.objects([row.path]))
            raise AlreadyAnsweredError(_answer(row))
        file, before = self.plan_file(session, row), copy_row(row)
        return LabelPlan(file=file, of=before, labels=labels, revision=self.claim(session, intent, row, []))

    def change(self, plan: LabelPlan, newest: Sidecar) -> tuple[FileLabels, Mapping[str, JsonValue]]:
        """Return the labels that were planned, and the parameters as they are."""
        return plan.labels, newest.parameters


def _answer(row: FileModel) -> Result:
    return {"file": FilePublic.model_validate(row).model_dump(mode="json")}


def _changed_labels(row: FileModel, change: FileUpdate) -> FileLabels:
    """Return what the labels of a file become.

    Raises:
        InvalidRequestError: that has no meaning.
    """
    given = change.model_fields_set
    if "name" in given and row.kind in DOCUMENTS and change.name != row.name:
        raise InvalidRequestError(f"{row.path} is a version of a {row.kind}: rename the {row.kind} itself.")
    tags = set(row.tags if change.tags is None else change.tags)
    tags = (tags | set(change.add_tags)) - set(change.remove_tags)
    if len(tags) > TAGS_LIMIT:
        raise InvalidRequestError(
            f"{row.path} would have {len(tags)} tags, at most {TAGS_LIMIT} are kept. Remove some with it."
        )
    return FileLabels(
        name=change.name if change.name is not None else row.name,
        tags=sorted(tags),
        rating=change.rating if "rating" in given else row.rating,
    )
