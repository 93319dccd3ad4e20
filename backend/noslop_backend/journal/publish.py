# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish one file with its sidecar: what every operation that writes a file does between its two transactions.

Bytes into `.staging`, then the plan with the rows, then the links, then the last transaction. What failed before the
links is undone; after them it is only ever finished.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from datetime import datetime
from typing import BinaryIO, TypeVar

from blake3 import blake3
from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp, IntentState
from noslop_backend.core.errors import (
    BackendError,
    ConflictError,
    DatabaseUnavailableError,
    InspectionUnfinishedError,
    NotFoundError,
)
from noslop_backend.journal import audit, newest_sidecar
from noslop_backend.journal.file_row import SIDECAR_TYPE, file_row
from noslop_backend.journal.intent import FileLockedError, IntentHandle, IntentLostError, Operation, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.searchable import texts_of
from noslop_backend.journal.sidecar import Sidecar, SidecarDocument
from noslop_backend.media import probe
from noslop_backend.media.facts import facts_to_json, fields_to_json
from noslop_backend.media.probe import Inspection
from noslop_backend.media.types import MediaType
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import LabelPlan, PlannedFile, SidecarPlan, WritePlan
from noslop_backend.repositories import (
    Change,
    DocumentRepository,
    FileRepository,
    IntentRepository,
    ProjectRepository,
    ReferenceRepository,
)
from noslop_backend.schemas import EmbeddedTexts, FilePublic
from noslop_backend.share import FileContent, Share, Writer, layout
from noslop_backend.share.layout import WITH_SIDECAR, FileKind

MAIN_PART, SIDECAR_PART, RECOVERED_PART = 0, 1, 2
W = TypeVar("W", bound=WritePlan)


class WriteOperation(Operation[W]):
    """An operation that publishes a file: undone when it fails before the links, recovered by what has its name."""

    def fail(self, journal: Journal, share: Share, handle: IntentHandle[W], error: BaseException) -> Result | None:
        """Undo what is not published, and say what vanished."""
        # Only the process that recovers the intent removes its staged files.
        if isinstance(error, FileNotFoundError) and not journal.owns(handle):
            return journal.outcome(handle)
        if not handle.published:
            undo(journal, share, handle)
        if isinstance(error, FileNotFoundError):
            raise ConflictError(
                f"Something vanished from {handle.project_id} while it was being written to ({error.filename}). "
                "Look who removes files there, and send it again."
            ) from error
        return None

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[W]) -> IntentState:
        """Finish a write whose file has its final name, and undo any other."""
        # Names in .staging go first: from then on its owner cannot publish, and what has its final name was whole.
        remove_staged(share, handle)
        if is_published(share, handle):
            finish_published(journal, share, handle)
            return IntentState.DONE
        if not journal.record_undo(handle):
            raise IntentLostError
        remove_traces(share, handle)
        if not journal.release(handle):
            raise IntentLostError
        return IntentState.RELEASED


def reserve_inputs(session: Session, intent: IntentModel, inputs: Sequence[str]) -> None:
    """Keep the inputs of a write from removal until it is done.

    Raises:
        NotFoundError: one of them is not present.
        FileLockedError: one of them is being moved to another project.
    """
    wanted = set(inputs)
    if not wanted:
        return
    rows = FileRepository(session).some(intent.project_id, sorted(wanted))
    present = {row.id for row in rows if row.state == FileState.PRESENT}
    if missing := sorted(wanted - present):
        raise NotFoundError(
            f"The project {intent.project_id} has no such file {missing[0]!r}, which was named as an input.",
            file_id=missing[0],
        )
    for claimed in {row.intent_id for row in rows if row.intent_id is not None}:
        other = IntentRepository(session).get(claimed)
        if other is not None and other.op == IntentOp.TRANSFER:
            raise FileLockedError(claimed)
    ReferenceRepository(session).reserve(intent.id, wanted)


def inspect(share: Share, project_id: str, relative: str, content_type: str) -> Inspection:
    """Read what a file says of itself; a document says nothing."""
    with share.open(project_id, relative) as stream:
        return probe.inspect(stream, content_type)


def inspect_new(stream: BinaryIO, content_type: str, planned: PlannedFile) -> Inspection:
    """Read what a new file says of itself, unless its request says not to.

    Raises:
        InspectionUnfinishedError: its texts could not be read, so that files which they name would not be kept.
    """
    if not planned.inspect:
        return probe.skip(content_type)
    inspection = probe.inspect(stream, content_type)
    if inspection.unread:
        raise InspectionUnfinishedError(
            f"The file {inspection.unread}. Nothing was saved, because files that it needs could be cleaned up then. "
            "Send it again when the host is less busy, or with inspect=false and the ids of those files as inputs."
        )
    return inspection


def record_inspection(planned: PlannedFile, main: FileModel, inspection: Inspection) -> set[str]:
    """Record what a file says of itself, in its row and in the plan. Return the ids of files that it mentions."""
    main.facts, main.fields = facts_to_json(inspection.facts), fields_to_json(inspection.fields)
    embedded = inspection.embedded
    planned.embedded_texts = EmbeddedTexts.of(embedded)
    if main.kind == FileKind.FINAL:
        # It needs nothing of what it was made from.
        return set()
    references = layout.ids_in_text(json.dumps(embedded))
    planned.references = sorted(references)
    return references | layout.ids_in_text(json.dumps(main.parameters))


def open_staged(share: Share, handle: IntentHandle[W], part: int) -> Writer:
    """Open a new file in `.staging`, making the project's directories again if they were removed."""
    staged = layout.staging(handle.intent_id, part)
    try:
        return share.create(handle.project_id, staged)
    except FileNotFoundError:
        share.require_project(handle.project_id)
        share.make_project(handle.project_id)
        return share.create(handle.project_id, staged)


def stage(share: Share, handle: IntentHandle[W], part: int, content: bytes) -> FileContent:
    """Write a small file whole into `.staging`."""
    writer = open_staged(share, handle, part)
    try:
        writer.write(content)
        return writer.finish()
    finally:
        writer.close()


def main_row(handle: IntentHandle[W], media_type: MediaType, content: FileContent) -> FileModel:
    """Make the row of the file that an intent has staged."""
    return planned_row(handle.project_id, handle.plan.file, handle.moment, media_type, content)


def planned_row(
    project_id: str, planned: PlannedFile, moment: datetime, media_type: MediaType, content: FileContent
) -> FileModel:
    """Make the row of a file that is planned."""
    return file_row(
        project_id,
        layout.path(media_type.kind, planned.name, planned.id, media_type.extension, planned.version),
        name=planned.name,
        content=content,
        content_type=media_type.content_type,
        created_at=moment,
        parameters=planned.parameters,
        document_id=planned.document.id if planned.document else None,
        content_id=planned.content_id,
        source_id=planned.source_id,
    )


def sidecar_row(of: FileModel, sidecar_id: str, content: bytes, created_at: datetime, revision: int = 1) -> FileModel:
    """Make the row of a sidecar that is about to be written."""
    return file_row(
        of.project_id,
        layout.sidecar(of.path, revision),
        row_id=sidecar_id,
        name=of.name,
        content=FileContent(len(content), blake3(content).hexdigest(), 0, 0),
        content_type=SIDECAR_TYPE,
        created_at=created_at,
    )


def compose_sidecar(planned: PlannedFile, main: FileModel) -> bytes:
    """Return the text of the first sidecar of a file."""
    return Sidecar.of(
        main,
        planned.sidecar_id,
        document=SidecarDocument.of(planned.document) if planned.document else None,
        embedded_texts=planned.embedded_texts,
        references=planned.references,
        inputs=planned.inputs,
    ).to_bytes()


def stage_rows(share: Share, handle: IntentHandle[W], main: FileModel) -> list[FileModel]:
    """Write the sidecar of a new file into `.staging`, if its kind has one, and return the rows of both."""
    if FileKind(main.kind) not in WITH_SIDECAR:
        return [main]
    content = compose_sidecar(handle.plan.file, main)
    stage(share, handle, SIDECAR_PART, content)
    return [main, sidecar_row(main, handle.plan.file.sidecar_id, content, handle.moment)]


def record_rows(journal: Journal, handle: IntentHandle[W], rows: list[FileModel], mentioned: set[str]) -> None:
    """Write down the rows that are about to be published, and the ids that they need."""
    references = sorted({*handle.plan.file.inputs, *mentioned})
    plan = handle.plan.model_copy(update={"rows": rows, "references": references})
    journal.record_plan(handle, plan, sum(row.charged_bytes for row in rows))


def publish_staged(
    journal: Journal,
    share: Share,
    handle: IntentHandle[W],
    rows: list[FileModel],
    mentioned: set[str],
) -> Result:
    """Take a file that lies whole in `.staging` with its sidecar to its end: lease, links, rows."""
    record_rows(journal, handle, rows, mentioned)
    return publish_rows(journal, share, handle)


def publish_rows(journal: Journal, share: Share, handle: IntentHandle[W]) -> Result:
    """Link what lies whole in `.staging` to the paths of the planned rows, and finish the rows.

    An owner that has lost its lease links nothing: recovery removes the staged names before anything else.
    """
    rows = handle.plan.rows
    # The sidecar first: the file is there only when everything is.
    staged = [layout.staging(handle.intent_id, part) for part in (MAIN_PART, SIDECAR_PART)]
    moves = [(staged[part], row.path) for part, row in reversed(list(enumerate(rows)))]
    try:
        share.publish(handle.project_id, moves)
    except FileNotFoundError:
        if share.look(handle.project_id, moves[-1][0]) is None:
            raise
        share.require_project(handle.project_id)
        share.make_project(handle.project_id)
        share.publish(handle.project_id, moves)
    return finish_rows(journal, share, handle)


def finish_rows(journal: Journal, share: Share, handle: IntentHandle[W]) -> Result:
    """Do the last transaction of a write whose files have their final names."""
    handle.published = True
    rows = handle.plan.rows
    for row in rows:
        observed = share.look(handle.project_id, row.path)
        if observed is None:
            raise ConflictError(f"{handle.project_id}/{row.path} vanished while it was being saved. Send it again.")
        row.mtime_ns = observed.st_mtime_ns
    plan, texts = handle.plan, texts_of(share, rows)
    newest = None
    if isinstance(plan, SidecarPlan):
        texts |= texts_of(share, [plan.of])
        newest = newest_sidecar.read_sidecar(share, handle.project_id, rows[0].path)

    def apply(session: Session, _now: datetime) -> Result:
        FileRepository(session).add(rows, texts)
        main = rows[0]
        if handle.op == IntentOp.WRITE:
            handle.operation = f"save_{main.kind}"
        handle.details = audit.objects([main.path])
        ReferenceRepository(session).add(handle.project_id, main.id, handle.plan.references)
        workflows = DocumentRepository(session).count_versions(main.document_id, 1) if main.document_id else 0
        ProjectRepository(session).apply_delta(
            handle.project_id, Change().add(rows), reserved_bytes=handle.reserved_bytes, workflows=workflows
        )
        if isinstance(plan, SidecarPlan):
            FileRepository(session).release_files(handle.intent_id)
            of = FileRepository(session).get(handle.project_id, plan.of.id)
            if isinstance(newest, Sidecar):
                newest_sidecar.apply_with_references(session, of, newest, texts)
            if isinstance(plan, LabelPlan):
                handle.operation, main = "update_file", of
        return {"file": FilePublic.model_validate(main).model_dump(mode="json")}

    return journal.finish(handle, apply)


def is_published(share: Share, handle: IntentHandle[W]) -> bool:
    """Return whether the file of an intent has its final name, whole. Then every byte of it was synced before."""
    if handle.plan.undo or not handle.plan.rows:
        return False
    main = handle.plan.rows[0]
    observed = share.look(handle.project_id, main.path)
    if observed is None or not stat.S_ISREG(observed.st_mode) or observed.st_size != main.size_bytes:
        return False
    return share.hash(handle.project_id, main.path).blake3 == main.blake3


def finish_published(journal: Journal, share: Share, handle: IntentHandle[W]) -> Result:
    """Finish an intent whose file has its final name: write its sidecar if that is missing, then the rows."""
    rows, planned = handle.plan.rows, handle.plan.file
    main = rows[0]
    for place, sidecar in enumerate(rows[1:], start=1):
        if share.look(handle.project_id, sidecar.path) is None:
            if planned.embedded_texts is None:
                # A version of the backend that does not plan them may have begun it.
                record_inspection(planned, main, inspect(share, handle.project_id, main.path, main.content_type))
            content = compose_sidecar(planned, main)
            staged = layout.staging(handle.intent_id, RECOVERED_PART)
            share.remove(handle.project_id, [staged])
            stage(share, handle, RECOVERED_PART, content)
            share.publish(handle.project_id, [(staged, sidecar.path)])
            rows[place] = sidecar_row(main, sidecar.id, content, handle.moment)
    share.sync(handle.project_id, os.path.dirname(main.path))
    remove_staged(share, handle)
    return finish_rows(journal, share, handle)


def undo(journal: Journal, share: Share, handle: IntentHandle[W]) -> None:
    """Remove whatever a write that failed has staged or half published, and release it.

    That it is being undone is written down first: from then on it is never finished, and what is removed is not missed.
    When this fails too recovery does it: the first error is what counts.
    """
    try:
        if journal.record_undo(handle):
            remove_traces(share, handle)
            journal.release(handle)
    except DatabaseUnavailableError:
        # The lease runs out by itself: waiting for the database once more would keep the client waiting.
        return
    except (BackendError, OSError):
        journal.abandon(handle)


def remove_staged(share: Share, handle: IntentHandle[W]) -> None:
    """Remove what a write has in `.staging`: from then on it cannot be published."""
    parts = (MAIN_PART, SIDECAR_PART, RECOVERED_PART)
    share.remove(handle.project_id, [layout.staging(handle.intent_id, part) for part in parts])


def remove_traces(share: Share, handle: IntentHandle[W]) -> None:
    """Remove what a write has left, staged names first."""
    remove_staged(share, handle)
    share.remove(handle.project_id, [row.path for row in handle.plan.rows])
