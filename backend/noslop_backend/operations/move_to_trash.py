# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trash of a project: files are put away, brought back, and at last removed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.core.errors import InvalidRequestError, NotFoundError, ReferencedError
from noslop_backend.journal import audit
from noslop_backend.journal.intent import IntentHandle, Request
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.operations.purge import BATCH, Removals, check_age
from noslop_backend.repositories import (
    Change,
    DocumentRepository,
    FileRepository,
    ProjectRepository,
    ReferenceRepository,
)
from noslop_backend.schemas import RemovalReport
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import is_file_id


class Trash(Removals):
    """The part of the service about the trash. A file's sidecars go with it."""

    def trash(
        self, project_id: str, file_ids: Sequence[str], *, force: bool = False, key: str | None = None
    ) -> RemovalReport:
        """Put files away. They keep their ids and are charged until they are purged.

        Raises:
            ReferencedError: something needs one of them, and not `force`. With `force` the references stay, for a
                restore.
            InProgressError: an open intent works on one of them.
        """

        def check(session: Session, rows: list[FileModel]) -> None:
            ids = [row.id for row in rows]
            self.not_held(session, ids)
            if not force and (needed := ReferenceRepository(session).needed(ids)):
                shown = next(row for row in rows if row.id in needed)
                raise ReferencedError(
                    f"{shown.path} is needed by something else in {project_id}. Put that away first, or use force.",
                    file_ids=sorted(needed),
                )

        return self._move(project_id, file_ids, IntentOp.TRASH, Request(key, (sorted(file_ids), force)), check)

    def restore(self, project_id: str, file_ids: Sequence[str], *, key: str | None = None) -> RemovalReport:
        """Bring files back to where they were."""
        return self._move(
            project_id, file_ids, IntentOp.RESTORE, Request(key, (sorted(file_ids),)), lambda _session, _rows: None
        )

    def purge(
        self,
        project_id: str,
        file_ids: Sequence[str] | None = None,
        *,
        older_than: timedelta | None = None,
        key: str | None = None,
    ) -> RemovalReport:
        """Remove files from the trash for good: those named, all of it, or what has been there for `older_than`.

        A final that was linked to a removed file takes over what it cost.
        """
        check_age(older_than)
        if file_ids is not None:
            wanted = _check_ids(file_ids)
            request = Request(key, (wanted,))
            return self.remove(
                project_id, IntentOp.PURGE, request, lambda session: self._in_trash(session, project_id, wanted)
            )
        if key is not None:
            raise InvalidRequestError("A key goes with named files. Emptying the trash twice does no harm.")
        report = RemovalReport()
        while True:
            part = self.remove(
                project_id, IntentOp.PURGE, Request(), lambda session: self._oldest(session, project_id, older_than)
            )
            if not part.files_count:
                return report
            report.files_count += part.files_count
            report.freed_bytes += part.freed_bytes

    def _in_trash(self, session: Session, project_id: str, file_ids: list[str]) -> list[FileModel]:
        rows = FileRepository(session).with_sidecars(project_id, file_ids)
        self.all_there(project_id, file_ids, rows, FileState.TRASHED, FileState.MISSING)
        return rows

    def _oldest(self, session: Session, project_id: str, older_than: timedelta | None) -> list[FileModel]:
        files = FileRepository(session)
        before = None if older_than is None else clock(session) - older_than
        return files.with_sidecars(project_id, files.trashed(project_id, before, BATCH))

    def _move(
        self,
        project_id: str,
        file_ids: Sequence[str],
        op: IntentOp,
        request: Request,
        check: Callable[[Session, list[FileModel]], None],
    ) -> RemovalReport:
        wanted = _check_ids(file_ids)
        before = FileState.PRESENT if op == IntentOp.TRASH else FileState.TRASHED

        def prepare(session: Session, intent: IntentModel, _now: datetime) -> dict[str, Any]:
            rows = FileRepository(session).with_sidecars(project_id, wanted)
            self.free(rows)
            self.all_there(project_id, wanted, rows, before)
            rows = [row for row in rows if row.state == before]
            check(session, rows)
            FileRepository(session).claim_files(rows, intent.id)
            return {"files": wanted}

        with self.share() as share:
            handle = self.begin(project_id, op, request, prepare)
            result = self.continue_published(handle, lambda: self.execute_moves(share, handle))
        return self.report_of(project_id, result)

    def execute_moves(self, share: Share, handle: IntentHandle) -> dict[str, Any]:
        """Move what an intent works on into the trash or out of it; goes on wherever somebody stopped."""
        away = handle.op == IntentOp.TRASH
        with self.database.read() as session:
            rows = FileRepository(session).taken(handle.intent_id)
        there: set[str] = set()
        touched: set[str] = set()
        for row in rows:
            self.renew(handle)
            source, target = (row.path, layout.trash(row.path)) if away else (layout.trash(row.path), row.path)
            if share.move(handle.project_id, source, target):
                there.add(row.id)
                touched |= {os.path.dirname(source), os.path.dirname(target)}
        for directory in sorted(touched):
            share.sync(handle.project_id, directory)

        def apply(session: Session, now: datetime) -> dict[str, Any]:
            rows = FileRepository(session).taken(handle.intent_id)
            change = Change().add(rows, -1)
            versions: dict[str, int] = {}
            for row in rows:
                if row.document_id and row.state == FileState.PRESENT:
                    versions[row.document_id] = versions.get(row.document_id, 0) - 1
                present = FileState.TRASHED if away else FileState.PRESENT
                row.state = present if row.id in there else FileState.MISSING
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
            return {"files": handle.plan["files"], "files_count": len(handle.plan["files"]), "freed_bytes": 0}

        return self.finish(handle, apply)


def _check_ids(file_ids: Sequence[str]) -> list[str]:
    wanted = sorted(set(file_ids))
    if not 1 <= len(wanted) <= BATCH:
        raise InvalidRequestError(f"Name 1 to {BATCH} files at once, not {len(wanted)}.")
    for file_id in wanted:
        if not is_file_id(file_id):
            raise NotFoundError(f"There is no file {file_id!r}.", file_id=file_id)
    return wanted
