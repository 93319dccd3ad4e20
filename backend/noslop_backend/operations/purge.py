# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove files for good: from the trash (`PurgeFiles`), or intermediates that nothing needs (`operations.cleanup`).

Once begun a removal is only ever finished, by the next process that asks: nothing is undone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState, IntentOp, IntentState
from noslop_backend.core.errors import InProgressError, InvalidRequestError, NotFoundError
from noslop_backend.journal import audit
from noslop_backend.journal.intent import AlreadyAnsweredError, IntentHandle, Operation, Request, Result
from noslop_backend.journal.journal import Journal, require_unclaimed
from noslop_backend.journal.project_metadata import write_metadata
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import RemovePlan
from noslop_backend.repositories import (
    Change,
    DocumentRepository,
    FileRepository,
    ProjectRepository,
    ReferenceRepository,
)
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import is_file_id

#: So many files go with one intent, and fit into one statement on every database.
BATCH = 1000


class RemoveFiles(Operation[RemovePlan]):
    """Files are unlinked, and their rows go; `choose` says which."""

    def enter(self, session: Session, _now: datetime) -> None:
        """Lock the project, which may be archived: its retention goes on."""
        ProjectRepository(session).reserve(self.project_id, 0, even_archived=True)

    @abstractmethod
    def choose(self, session: Session) -> list[FileModel]:
        """Return the rows that go, each after what it describes; in the first transaction, the project locked."""

    def prepare(self, session: Session, intent: IntentModel, now: datetime) -> RemovePlan:
        """Claim the rows, and tell whether metadata.json has to be written before they go."""
        rows = self.choose(session)
        if not rows:
            raise AlreadyAnsweredError(removal_result())
        require_unclaimed(rows)
        require_unused(session, [row.id for row in rows])
        change = Change().add(rows, -1)
        FileRepository(session).claim_files(rows, intent.id, FileState.PURGING)
        numbers = _last_traces_go(session, self.project_id, rows, now)
        ProjectRepository(session).apply_delta(self.project_id, change.add(rows))
        return RemovePlan(numbers=numbers)

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[RemovePlan]) -> Result:
        """Remove the files that were claimed."""
        return _remove_claimed(journal, share, handle)

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[RemovePlan]) -> IntentState:
        """Continue the removal wherever it stopped."""
        _remove_claimed(journal, share, handle)
        return IntentState.DONE


class PurgeFiles(RemoveFiles):
    """Files that go from the trash: those that are named, or the oldest of it."""

    kind = IntentOp.PURGE

    def __init__(
        self,
        project_id: str,
        file_ids: Sequence[str] | None,
        *,
        older_than: timedelta | None = None,
        key: str | None = None,
    ) -> None:
        self.file_ids = None if file_ids is None else check_ids(file_ids)
        self.older_than = older_than
        super().__init__(project_id, Request(key, () if file_ids is None else (self.file_ids,)))

    def choose(self, session: Session) -> list[FileModel]:
        """Return the named files with their sidecars, or those that were put away first."""
        files = FileRepository(session)
        if self.file_ids is not None:
            rows = files.with_sidecars(self.project_id, self.file_ids)
            require_states(self.project_id, self.file_ids, rows, FileState.TRASHED, FileState.MISSING)
            return rows
        before = None if self.older_than is None else clock(session) - self.older_than
        return files.with_sidecars(self.project_id, files.trashed(self.project_id, before, BATCH))


def _last_traces_go(session: Session, project_id: str, rows: list[FileModel], now: datetime) -> bool:
    """Return whether the last trace on the share of a document's newest number goes with these rows.

    metadata.json has to hold it then, which makes another revision of it.
    """
    documents = {row.document_id for row in rows if row.document_id is not None}
    if not documents or not documents & {
        each.id for each in DocumentRepository(session).apart_from_versions(project_id)
    }:
        return False
    projects = ProjectRepository(session)
    projects.change(projects.lock(project_id), {}, now)
    return True


def _remove_claimed(journal: Journal, share: Share, handle: IntentHandle[RemovePlan]) -> Result:
    """Remove what an intent works on; continues wherever another process stopped."""
    in_trash = handle.op == IntentOp.PURGE
    with journal.database.read() as session:
        rows = FileRepository(session).taken(handle.intent_id)
    journal.renew(handle)
    if handle.plan.numbers:
        # Before the files: a number that was given is never given again, whatever is lost.
        write_metadata(journal, share, handle)
    share.remove(handle.project_id, [layout.trash(row.path) if in_trash else row.path for row in rows])

    def apply(session: Session, _now: datetime) -> Result:
        files = FileRepository(session)
        rows = files.taken(handle.intent_id)
        change = files.charge_heirs(rows)
        named = [row.path for row in rows if row.of_file_id is None]
        handle.details = audit.objects(named)
        files.delete([row.id for row in rows])
        ProjectRepository(session).apply_delta(handle.project_id, change)
        return removal_result(files_count=len(named), freed_bytes=-change.charged_bytes)

    return journal.finish(handle, apply)


def removal_result(files: Sequence[str] = (), files_count: int = 0, freed_bytes: int = 0) -> Result:
    """Return the answer of a removal: ids of files that are still there, how many went, and what that freed."""
    return {"files": list(files), "files_count": files_count, "freed_bytes": freed_bytes}


def freed_bytes(session: Session, rows: list[FileModel]) -> int:
    """Return what a project costs less without these rows: content that stays under another name is still paid for."""
    heirs = FileRepository(session).heirs(rows)
    return sum(row.charged_bytes for row in rows) - sum(row.size_bytes for row in heirs)


def check_age(older_than: timedelta | None) -> None:
    """Refuse an age that is none, or that no clock can count back.

    Raises:
        InvalidRequestError: it is.
    """
    if older_than is not None and not timedelta(0) <= older_than <= timedelta(days=36_500):
        raise InvalidRequestError("An age is 0 to 36500 days.")


def check_ids(file_ids: Sequence[str]) -> list[str]:
    """Return the ids of files to work on, sorted and each once.

    Raises:
        InvalidRequestError: none, or more than go with one intent.
        NotFoundError: one cannot be an id.
    """
    wanted = sorted(set(file_ids))
    if not 1 <= len(wanted) <= BATCH:
        raise InvalidRequestError(f"Name 1 to {BATCH} files at once, not {len(wanted)}.")
    for file_id in wanted:
        if not is_file_id(file_id):
            raise NotFoundError(f"There is no file {file_id!r}.", file_id=file_id)
    return wanted


def require_states(project_id: str, file_ids: list[str], rows: list[FileModel], *states: FileState) -> None:
    """Refuse to work on files that are not in the project, or not in one of these states.

    Raises:
        NotFoundError: one is not.
        InvalidRequestError: one is a sidecar.
    """
    state_of = {row.id: row.state for row in rows}
    if any(row.of_file_id is not None and row.id in file_ids for row in rows):
        raise InvalidRequestError("A sidecar goes where its file goes: name that.")
    for file_id in file_ids:
        if state_of.get(file_id) not in states:
            state = f"it is {state_of[file_id]}" if file_id in state_of else "there is none"
            raise NotFoundError(
                f"The project {project_id} has no file {file_id!r} that is {' or '.join(states)}: {state}.",
                file_id=file_id,
            )


def require_unused(session: Session, file_ids: list[str]) -> None:
    """Refuse to move what an open intent needs.

    Raises:
        InProgressError: one does.
    """
    if used := ReferenceRepository(session).needed(file_ids, by_intents_only=True):
        raise InProgressError(
            f"The file {min(used)} is being used by a write. Send it again when that is done.", retry_after_s=1.0
        )
