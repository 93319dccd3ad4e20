# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What trash, purge and cleanup share.

Once begun these are only ever finished, by whoever comes by: nothing is undone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.core.errors import InProgressError, InvalidRequestError, NotFoundError
from noslop_backend.journal import audit
from noslop_backend.journal.intent import AlreadyAnsweredError, IntentHandle, IntentLostError, Request
from noslop_backend.journal.project_metadata import ProjectFile
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.repositories import (
    Change,
    DocumentRepository,
    FileRepository,
    ProjectRepository,
    ReferenceRepository,
)
from noslop_backend.schemas import FilePublic, RemovalReport
from noslop_backend.share import Share, layout

#: So many files go with one intent, and fit into one statement on every database.
BATCH = 1000
_NOTHING: dict[str, Any] = {"files": [], "files_count": 0, "freed_bytes": 0}


def check_age(older_than: timedelta | None) -> None:
    """Refuse an age that is none, or that no clock can count back.

    Raises:
        InvalidRequestError: it is.
    """
    if older_than is not None and not timedelta(0) <= older_than <= timedelta(days=36_500):
        raise InvalidRequestError("An age is 0 to 36500 days.")


class Removals(ProjectFile):
    """Takes rows, changes the tree, and finishes both."""

    def continue_published(self, handle: IntentHandle, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do the work of an intent that can only be finished.

        When it fails, whoever comes next goes on with it at once.
        """
        if handle.answer is not None:
            return handle.answer
        try:
            return work()
        except IntentLostError:
            return self.outcome(handle)
        except BaseException:
            self.abandon(handle)
            raise

    @staticmethod
    def all_there(project_id: str, file_ids: list[str], rows: list[FileModel], *states: FileState) -> None:
        """Refuse to work on files that are not in the project, or not in one of these states.

        Raises:
            NotFoundError: one is not.
            InvalidRequestError: one is a sidecar.
        """
        found = {row.id: row.state for row in rows}
        if any(row.of_file_id is not None and row.id in file_ids for row in rows):
            raise InvalidRequestError("A sidecar goes where its file goes: name that.")
        for file_id in file_ids:
            if found.get(file_id) not in states:
                state = f"it is {found[file_id]}" if file_id in found else "there is none"
                raise NotFoundError(
                    f"The project {project_id} has no file {file_id!r} that is {' or '.join(states)}: {state}.",
                    file_id=file_id,
                )

    @staticmethod
    def not_held(session: Session, file_ids: list[str]) -> None:
        """Refuse to move what an open intent needs.

        Raises:
            InProgressError: one does.
        """
        if held := ReferenceRepository(session).needed(file_ids, by_intents_only=True):
            raise InProgressError(
                f"The file {min(held)} is being used by a write. Send it again when that is done.", retry_after_s=1.0
            )

    @staticmethod
    def freed(session: Session, rows: list[FileModel]) -> int:
        """What a project costs less without these rows: content that lives on under another name is still paid for."""
        heirs = FileRepository(session).heirs(rows)
        return sum(row.charged_bytes for row in rows) - sum(row.size_bytes for row in heirs)

    def remove(
        self, project_id: str, op: IntentOp, request: Request, choose: Callable[[Session], list[FileModel]]
    ) -> RemovalReport:
        """Remove files for good: their rows are marked, they are unlinked, and the rows go."""

        def prepare(session: Session, intent: IntentModel, now: datetime) -> dict[str, Any]:
            rows = choose(session)
            if not rows:
                raise AlreadyAnsweredError(_NOTHING)
            self.free(rows)
            self.not_held(session, [row.id for row in rows])
            change = Change().add(rows, -1)
            FileRepository(session).claim_files(rows, intent.id, FileState.PURGING)
            numbers = self._numbers_go(session, project_id, rows, now)
            ProjectRepository(session).apply_delta(project_id, change.add(rows))
            return {"numbers": numbers}

        with self.share() as share:
            handle = self.begin(project_id, op, request, prepare)
            result = self.continue_published(handle, lambda: self.execute_removal(share, handle))
        return self.report_of(project_id, result)

    @staticmethod
    def _numbers_go(session: Session, project_id: str, rows: list[FileModel], now: datetime) -> bool:
        """Tell whether the last trace on the share of a document's newest number goes with these rows.

        metadata.json has to say it then, which makes another revision of it.
        """
        documents = {row.document_id for row in rows if row.document_id is not None}
        if not documents or not documents & {each.id for each in DocumentRepository(session).outlived(project_id)}:
            return False
        projects = ProjectRepository(session)
        projects.change(projects.lock(project_id), {}, now)
        return True

    def execute_removal(self, share: Share, handle: IntentHandle) -> dict[str, Any]:
        """Remove what an intent works on; goes on wherever somebody stopped."""
        in_trash = handle.op == IntentOp.PURGE
        with self.database.read() as session:
            rows = FileRepository(session).taken(handle.intent_id)
        self.renew(handle)
        if handle.plan.get("numbers"):
            # Before the files: a number that was given is never given again, whatever is lost.
            self.write_metadata(share, handle)
        share.remove(handle.project_id, [layout.trash(row.path) if in_trash else row.path for row in rows])

        def apply(session: Session, _now: datetime) -> dict[str, Any]:
            files = FileRepository(session)
            rows = files.taken(handle.intent_id)
            heirs = files.heirs(rows)
            change = Change().add(rows, -1).add(heirs, -1)
            for heir in heirs:
                heir.charged_bytes = heir.size_bytes
                session.add(heir)
            session.flush()
            change.add(heirs)
            named = sum(1 for row in rows if row.of_file_id is None)
            handle.details = audit.objects([row.path for row in rows if row.of_file_id is None])
            files.delete([row.id for row in rows])
            ProjectRepository(session).apply_delta(handle.project_id, change)
            return _NOTHING | {"files_count": named, "freed_bytes": -change.charged_bytes}

        return self.finish(handle, apply)

    def report_of(self, project_id: str, result: dict[str, Any]) -> RemovalReport:
        """The report that a result stands for, with the files that are still known."""
        files: list[FileModel] = []
        if result["files"]:
            with self.database.read() as session:
                files = FileRepository(session).some(project_id, result["files"])
        return RemovalReport(
            files=[FilePublic.model_validate(row) for row in files],
            files_count=result["files_count"],
            freed_bytes=result["freed_bytes"],
        )
