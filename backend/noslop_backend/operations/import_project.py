# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a project out of an archive: how that begins and ends. What comes in between is `archive`'s.

An import is shown as a whole, or undone. Recovery needs its end, and `archive` stands on this package.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp, IntentState, ProjectState
from noslop_backend.core.errors import BackendError, NotFoundError
from noslop_backend.journal.intent import IntentHandle, Operation, Request, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.models import IntentModel, ProjectModel
from noslop_backend.models.plans import ImportPlan
from noslop_backend.operations.create_project import project_result
from noslop_backend.repositories import IntentRepository, ProjectRepository, StoreRepository
from noslop_backend.share import Share, hidden_dirs


class ImportProject(Operation[ImportPlan]):
    """A project that comes in; `archive_of` is its id in the archive. Who derives from it says how, in `execute`."""

    kind = IntentOp.IMPORT_PROJECT

    def __init__(self, project: ProjectModel, archive_of: str, total_bytes: int) -> None:
        super().__init__(project.id, Request(), reserve_bytes=total_bytes)
        self.project = project
        self.archive_of = archive_of

    def enter(self, session: Session, now: datetime) -> None:
        """Insert the project, hidden, with what its files will cost reserved."""
        StoreRepository(session).get()
        # Of every attempt at the transaction another row: the session of one that failed has the first.
        row = ProjectModel(**self.project.model_dump())
        row.state, row.updated_at, row.reserved_bytes = ProjectState.CREATING, now, self.reserve_bytes
        ProjectRepository(session).add(row)

    def prepare(self, _session: Session, _intent: IntentModel, _now: datetime) -> ImportPlan:
        """Return the plan, and what the audit log will hold."""
        return ImportPlan(
            archive_of=self.archive_of, details={"archive_of": self.archive_of, "name": self.project.name}
        )

    def fail(
        self, journal: Journal, share: Share, handle: IntentHandle[ImportPlan], _error: BaseException
    ) -> Result | None:
        """Undo what is not published."""
        with suppress(BackendError):
            _undo(journal, share, handle)
        return None

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[ImportPlan]) -> IntentState:
        """Show a project that was published, and undo any other import: not even its intent is left."""
        hidden_dirs.disown(share, handle.intent_id, handle.project_id)
        # From here on the owner cannot publish any more: it did before, or it never will.
        if hidden_dirs.has_project(share, handle.project_id):
            journal.finish(handle, lambda session, _now: show_import(session, handle.project_id))
            hidden_dirs.clear(share, handle.intent_id)
            return IntentState.DONE
        _undo(journal, share, handle)
        return IntentState.RELEASED


def show_import(session: Session, project_id: str) -> Result:
    """Count everything of an imported project, and let it be seen."""
    projects = ProjectRepository(session)
    projects.update_storage_stats(project_id)
    project = projects.lock(project_id)
    project.state = ProjectState.PRESENT
    session.add(project)
    session.flush()
    return project_result(project)


def _undo(journal: Journal, share: Share, handle: IntentHandle[ImportPlan]) -> None:
    """Remove everything of an import that is not published; does nothing when another process owns it by now."""
    hidden_dirs.disown(share, handle.intent_id, handle.project_id)
    if hidden_dirs.has_project(share, handle.project_id):
        # Published, and then the last transaction failed: recovery shows it when the lease runs out.
        return
    hidden_dirs.clear(share, handle.intent_id)
    with journal.database.write() as session:
        projects = ProjectRepository(session)
        try:
            projects.lock(handle.project_id, ProjectState.CREATING)
        except NotFoundError:
            return
        # Its project goes, and the intent with it: all that is left to compare is the owner.
        if IntentRepository(session).update(handle.intent_id, handle.owner, state=IntentState.RELEASED, key=None):
            projects.delete(handle.project_id)
