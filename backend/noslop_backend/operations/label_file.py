# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label a file: its name, its tags and its stars, in its row and in a further sidecar.

The sidecar repeats the newest one with other labels, so a rebuild has them: that of the highest number counts. Files
without sidecars (intermediates) have labels in the database only. A path keeps the slug of the name that the file was
saved under: other programs refer to it, and its id is what counts.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.core.errors import InvalidRequestError, NotFoundError
from noslop_backend.journal import audit, labels, publish
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.file_row import location
from noslop_backend.journal.intent import AlreadyAnsweredError, IntentHandle, Request, Result
from noslop_backend.journal.journal import Journal, require_unclaimed
from noslop_backend.journal.sidecar import LIMIT_BYTES
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import LabelPlan, PlannedFile, PlannedLabels, copy_row
from noslop_backend.repositories import FileRepository
from noslop_backend.schemas import FilePublic, FileUpdate
from noslop_backend.schemas.labels import TAGS_LIMIT
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import DOCUMENTS, WITH_SIDECAR, FileKind


class LabelFile(publish.WriteOperation[LabelPlan]):
    """Another name, other tags or other stars of a present file. What changes nothing writes nothing."""

    kind = IntentOp.WRITE

    def __init__(self, project_id: str, file_id: str, change: FileUpdate, key: str | None) -> None:
        arguments = ("labels", file_id, change.model_dump(mode="json", exclude_unset=True))
        super().__init__(project_id, Request(key, arguments))
        self.file_id = file_id
        self.change = change

    def prepare(self, session: Session, intent: IntentModel, now: datetime) -> LabelPlan:
        """Keep the file from removal, and allocate the number of its sidecar. A file without sidecars ends here."""
        files = FileRepository(session)
        row = files.get(self.project_id, self.file_id, FileState.PRESENT)
        require_unclaimed([row])
        changed = _labels(row, self.change)
        if changed == labels.of(row):
            raise AlreadyAnsweredError(_answer(row))
        if FileKind(row.kind) not in WITH_SIDECAR:
            labels.apply(session, row, changed, {})
            audit.record(session, now, "update_file", project_id=self.project_id, details=audit.objects([row.path]))
            raise AlreadyAnsweredError(_answer(row))
        before = copy_row(row)
        publish.reserve_inputs(session, intent, [row.id])
        newest = max(files.sidecars(row.id), key=labels.revision_of, default=None)
        if newest is None:
            raise NotFoundError(f"{row.path} has no sidecar. Run `noslop-backend reconcile`.", file_id=row.id)
        files.claim_files([row], intent.id)
        return LabelPlan(
            file=PlannedFile(sidecar_id=StorageContext.new_id()),
            of=before,
            newest=location(newest),
            labels=PlannedLabels(**changed.model_dump()),
            revision=files.next_sidecar(row.id),
        )

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[LabelPlan]) -> Result:
        """Write the sidecar and publish it."""
        plan = handle.plan
        try:
            content = share.read(handle.project_id, plan.newest, LIMIT_BYTES)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{handle.project_id}/{plan.newest} was removed from the share. Run `noslop-backend reconcile`."
            ) from error
        wanted = labels.FileLabels.model_validate(plan.labels.model_dump())
        content, mentioned = labels.relabel(content, plan.file.sidecar_id, wanted)
        row = publish.sidecar_row(plan.of, plan.file.sidecar_id, content, handle.moment, plan.revision)
        publish.stage(share, handle, publish.MAIN_PART, content)
        publish.record_rows(journal, handle, [row], mentioned - {plan.of.id})
        share.publish(handle.project_id, [(layout.staging(handle.intent_id, publish.MAIN_PART), row.path)])
        return publish.finish_rows(journal, share, handle)


def _answer(row: FileModel) -> Result:
    return {"file": FilePublic.model_validate(row).model_dump(mode="json")}


def _labels(row: FileModel, change: FileUpdate) -> labels.FileLabels:
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
    return labels.FileLabels(
        name=change.name if change.name is not None else row.name,
        tags=sorted(tags),
        rating=change.rating if "rating" in given else row.rating,
    )
