# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move files into the trash, and restore them. A file's sidecars go with it.

Once begun a move is only ever finished, by the next process that asks: nothing is undone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp, IntentState
from noslop_backend.core.errors import ReferencedError
from noslop_backend.journal import audit
from noslop_backend.journal.intent import IntentHandle, Operation, Request, Result
from noslop_backend.journal.journal import Journal, require_unclaimed
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import MovePlan
from noslop_backend.operations.purge import check_ids, removal_result, require_states, require_unused
from noslop_backend.repositories import (
    Change,
    DocumentRepository,
    FileRepository,
    ProjectRepository,
    ReferenceRepository,
)
from noslop_backend.share import Share, layout


class _Move(Operation[MovePlan]):
    """Files that change their place, and are in the state `before` until then."""

    before: FileState

    def __init__(self, project_id: str, file_ids: Sequence[str], request: Request) -> None:
        super().__init__(project_id, request)
        self.file_ids = check_ids(file_ids)

    def check(self, _session: Session, _rows: list[FileModel]) -> None:
        """Refuse rows that may not be moved."""

    def prepare(self, session: Session, intent: IntentModel, _now: datetime) -> MovePlan:
        """Claim the rows of the files and of their sidecars."""
        rows = FileRepository(session).with_sidecars(self.project_id, self.file_ids)
        require_unclaimed(rows)
        require_states(self.project_id, self.file_ids, rows, self.before)
        rows = [row for row in rows if row.state == self.before]
        self.check(session, rows)
        FileRepository(session).claim_files(rows, intent.id)
        return MovePlan(files=self.file_ids)

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[MovePlan]) -> Result:
        """Move the files that were claimed."""
        return _move_claimed(journal, share, handle)

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[MovePlan]) -> IntentState:
        """Continue the moves wherever they stopped."""
        _move_claimed(journal, share, handle)
        return IntentState.DONE


class MoveToTrash(_Move):
    """Files that are put away. They keep their ids and are charged until they are purged."""

    kind = IntentOp.TRASH
    before = FileState.PRESENT

    def __init__(self, project_id: str, file_ids: Sequence[str], *, force: bool, key: str | None) -> None:
        super().__init__(project_id, file_ids, Request(key, (sorted(file_ids), force)))
        self.force = force

    def check(self, session: Session, rows: list[FileModel]) -> None:
        """Refuse what an open intent or, without `force`, another file needs."""
        ids = [row.id for row in rows]
        require_unused(session, ids)
        if not self.force and (needed := ReferenceRepository(session).needed(ids)):
            shown = next(row for row in rows if row.id in needed)
            raise ReferencedError(
                f"{shown.path} is needed by another file of {self.project_id}. Put that away first, or use force.",
                file_ids=sorted(needed),
            )


class RestoreFiles(_Move):
    """Files that come back to where they were."""

    kind = IntentOp.RESTORE
    before = FileState.TRASHED

    def __init__(self, project_id: str, file_ids: Sequence[str], *, key: str | None) -> None:
        super().__init__(project_id, file_ids, Request(key, (sorted(file_ids),)))


def _move_claimed(journal: Journal, share: Share, handle: IntentHandle[MovePlan]) -> Result:
    """Move what an intent works on into the trash or out of it; continues wherever another process stopped."""
    away = handle.op == IntentOp.TRASH
    with journal.database.read() as session:
        rows = FileRepository(session).taken(handle.intent_id)
    moved: set[str] = set()
    touched: set[str] = set()
    for row in rows:
        journal.renew(handle)
        source, target = (row.path, layout.trash(row.path)) if away else (layout.trash(row.path), row.path)
        if share.move(handle.project_id, source, target):
            moved.add(row.id)
            touched |= {os.path.dirname(source), os.path.dirname(target)}
    for directory in sorted(touched):
        share.sync(handle.project_id, directory)

    def apply(session: Session, now: datetime) -> Result:
        rows = FileRepository(session).taken(handle.intent_id)
        change = Change().add(rows, -1)
        versions: dict[str, int] = {}
        for row in rows:
            if row.document_id and row.state == FileState.PRESENT:
                versions[row.document_id] = versions.get(row.document_id, 0) - 1
            row.state = (FileState.TRASHED if away else FileState.PRESENT) if row.id in moved else FileState.MISSING
            if row.document_id and row.state == FileState.PRESENT:
                versions[row.document_id] = versions.get(row.document_id, 0) + 1
            row.trashed_at = now if row.state == FileState.TRASHED else None
            row.intent_id = None
            session.add(row)
        session.flush()
        handle.details = audit.objects([row.path for row in rows if row.of_file_id is None])
        change.add(rows)
        documents = DocumentRepository(session)
        workflows = sum(documents.count_versions(name, more) for name, more in sorted(versions.items()))
        ProjectRepository(session).apply_delta(handle.project_id, change, workflows=workflows)
        return removal_result(handle.plan.files, files_count=len(handle.plan.files))

    return journal.finish(handle, apply)
