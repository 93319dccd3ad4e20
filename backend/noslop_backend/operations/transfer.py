# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move files with their sidecars to another project. Their ids stay, and so does what refers to them by id.

The intent belongs to the receiving project, whose quota is asked. The names in the receiving project are linked first,
then one transaction changes the rows and counters of both projects, then the names in the project from before are
removed. A process that fails before that transaction undoes the links; one that dies is finished.

The new names are other ones for each move. A process that stalled for longer than its lease can so remove only what its
own move left behind, also where the file was moved back meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp, IntentState, ProjectState
from noslop_backend.core.errors import (
    BackendError,
    ConflictError,
    DatabaseUnavailableError,
    InvalidRequestError,
    ReferencedError,
)
from noslop_backend.journal import audit
from noslop_backend.journal.intent import IntentHandle, IntentLostError, Operation, Request, Result
from noslop_backend.journal.journal import Journal, require_unclaimed
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import PlannedName, TransferPlan
from noslop_backend.operations.purge import check_ids, removal_result, require_states, require_unused
from noslop_backend.repositories import (
    Change,
    FileRepository,
    IntentRepository,
    ProjectRepository,
    ReferenceRepository,
    SearchRepository,
)
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import DOCUMENTS, FileKind

#: Files with their sidecars, in one move.
_ROWS_LIMIT = 5000


class TransferFiles(Operation[TransferPlan]):
    """Files that leave a project for another one."""

    kind = IntentOp.TRANSFER

    def __init__(self, source_id: str, file_ids: Sequence[str], target_id: str, key: str | None) -> None:
        if source_id == target_id:
            raise InvalidRequestError(f"The files are in {target_id} already: name another project.")
        self.file_ids = check_ids(file_ids)
        super().__init__(target_id, Request(key, (source_id, self.file_ids, target_id), scope=source_id))
        self.source_id = source_id

    def enter(self, session: Session, _now: datetime) -> None:
        """Lock both projects, which have to be ones that accept writes."""
        projects = ProjectRepository(session)
        for project_id in sorted((self.source_id, self.project_id)):
            projects.lock(project_id, ProjectState.PRESENT)
        projects.reserve(self.source_id, 0)
        projects.reserve(self.project_id, 0)

    def prepare(self, session: Session, intent: IntentModel, _now: datetime) -> TransferPlan:
        """Claim the rows of the files and of their sidecars, and give them their names in the other project."""
        rows = FileRepository(session).with_sidecars(self.source_id, self.file_ids)
        require_unclaimed(rows)
        require_states(self.source_id, self.file_ids, rows, FileState.PRESENT)
        _require_movable(session, rows)
        FileRepository(session).claim_files(rows, intent.id)
        main = {row.id: layout.renamed(row.path, row.name, intent.id[:8]) for row in rows if row.of_file_id is None}
        names = []
        for row in rows:
            parsed = layout.parse(row.path)
            assert parsed is not None, "every row has a path of the layout"
            after = main[row.id] if row.of_file_id is None else layout.sidecar(main[row.of_file_id], parsed.revision)
            names.append(PlannedName(id=row.id, before=row.path, after=after))
        return TransferPlan(
            source_id=self.source_id,
            files=self.file_ids,
            names=names,
            size_bytes=sum(row.size_bytes for row in _payers(rows).values()),
            operation="move_files",
            details={"from_project": self.source_id},
        )

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[TransferPlan]) -> Result:
        """Move the files that were claimed."""
        return _transfer(journal, share, handle)

    def fail(
        self, journal: Journal, share: Share, handle: IntentHandle[TransferPlan], _error: BaseException
    ) -> Result | None:
        """Undo what did not come as far as the rows; the rest is only ever finished."""
        if handle.published:
            journal.abandon(handle)
            return None
        try:
            if journal.record_undo(handle):
                _undo(journal, share, handle)
        except DatabaseUnavailableError:
            # The lease runs out by itself: waiting for the database once more would keep the client waiting.
            return None
        except (BackendError, OSError):
            journal.abandon(handle)
        return None

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[TransferPlan]) -> IntentState:
        """Continue the move wherever it stopped, or its undoing."""
        if handle.plan.undo and not handle.plan.switched:
            _undo(journal, share, handle)
            return IntentState.RELEASED
        _transfer(journal, share, handle)
        return IntentState.DONE


def _require_movable(session: Session, rows: list[FileModel]) -> None:
    """Refuse rows that cannot leave their project.

    Raises:
        InvalidRequestError: one is a version of a workflow or prompt, or there are too many.
        ReferencedError: a file that stays needs one.
        ConflictError: one is not on the share.
    """
    if len(rows) > _ROWS_LIMIT:
        raise InvalidRequestError(
            f"The files have {len(rows) - _ROWS_LIMIT} sidecars more than can be moved at once. Name fewer files."
        )
    for row in rows:
        if row.kind in DOCUMENTS:
            raise InvalidRequestError(
                f"{row.path} is a version of a {row.kind}. Load it, and save it as a {row.kind} of the other project."
            )
        if row.state != FileState.PRESENT:
            raise ConflictError(
                f"{row.path} is {row.state}, so its file cannot move. Run `noslop-backend reconcile`.", file_id=row.id
            )
    ids = [row.id for row in rows]
    require_unused(session, ids)
    if needed := ReferenceRepository(session).needed(ids):
        shown = next(row for row in rows if row.id in needed)
        raise ReferencedError(
            f"{shown.path} is an input of a workflow or of another file of {shown.project_id}, which would lose it. "
            "Move that file along, or upload a copy to the other project.",
            file_ids=sorted(needed),
        )


def _payers(rows: Sequence[FileModel]) -> dict[str, FileModel]:
    """Return which of the rows pays for each content in the other project, as a rebuild would say it."""
    payers: dict[str, FileModel] = {}
    for row in sorted(rows, key=lambda row: (row.kind == FileKind.FINAL, row.created_at, row.id)):
        payers.setdefault(row.content_id, row)
    return payers


def _transfer(journal: Journal, share: Share, handle: IntentHandle[TransferPlan]) -> Result:
    plan = handle.plan
    if not plan.switched:
        try:
            missing = _link(journal, share, handle)
            # When the next transaction fails no process can tell whether it was committed.
            handle.published = True
            _switch(journal, handle, missing)
        except IntentLostError:
            if _is_released(journal, handle):
                # What was linked after another process had undone the move.
                share.remove(handle.project_id, [name.after for name in plan.names])
            raise
    share.remove(plan.source_id, [name.before for name in plan.names])

    def apply(session: Session, _now: datetime) -> Result:
        FileRepository(session).release_files(handle.intent_id)
        handle.details = audit.objects([name.after for name in plan.names if name.id in plan.files])
        return removal_result(plan.files, files_count=len(plan.files))

    return journal.finish(handle, apply)


def _link(journal: Journal, share: Share, handle: IntentHandle[TransferPlan]) -> set[str]:
    """Link the files to their names in the other project, sidecars first; return the ids of those that are gone."""
    plan, missing = handle.plan, set[str]()
    share.require_project(handle.project_id)
    for name in reversed(plan.names):
        journal.renew(handle)
        try:
            linked = share.link(plan.source_id, name.before, name.after, to_project=handle.project_id)
        except FileNotFoundError:
            if share.look(plan.source_id, name.before) is not None:
                raise
            missing.add(name.id)
            continue
        if not linked:
            raise ConflictError(
                f"The share makes no link from {plan.source_id} to {handle.project_id}. Nothing was moved: download "
                "the files, and upload them to the other project."
            )
    for directory in sorted({os.path.dirname(name.after) for name in plan.names if name.id not in missing}):
        share.sync(handle.project_id, directory)
    return missing


def _switch(journal: Journal, handle: IntentHandle[TransferPlan], missing: set[str]) -> None:
    """Change the rows and the counters of both projects."""
    plan = handle.plan.model_copy(update={"switched": True})
    after = {name.id: name.after for name in plan.names}

    def apply(session: Session, _now: datetime) -> None:
        files, projects = FileRepository(session), ProjectRepository(session)
        rows = files.taken(handle.intent_id)
        left = files.charge_heirs(rows)
        payers = _payers(rows)
        contents = {row.id: payers[row.content_id].id for row in rows}
        for row in rows:
            row.project_id, row.path, row.content_id = handle.project_id, after[row.id], contents[row.id]
            row.charged_bytes = row.size_bytes if contents[row.id] == row.id else 0
            row.state = FileState.MISSING if row.id in missing else FileState.PRESENT
            session.add(row)
        session.flush()
        ReferenceRepository(session).drop_outside([row.id for row in rows])
        SearchRepository(session).replace(row for row in rows if row.of_file_id is None)
        projects.apply_delta(plan.source_id, left)
        projects.apply_delta(handle.project_id, Change().add(rows), reserved_bytes=handle.reserved_bytes)

    journal.advance(handle, plan, apply, [plan.source_id])


def _is_released(journal: Journal, handle: IntentHandle[TransferPlan]) -> bool:
    """Return whether another process has undone a move, or it is gone with its project."""
    with journal.database.read() as session:
        intent = IntentRepository(session).get(handle.intent_id)
        return intent is None or intent.state == IntentState.RELEASED


def _undo(journal: Journal, share: Share, handle: IntentHandle[TransferPlan]) -> None:
    """Remove the links that were made. No other file has these names."""
    with suppress(FileNotFoundError):
        share.remove(handle.project_id, [name.after for name in handle.plan.names])
    journal.release(handle)
