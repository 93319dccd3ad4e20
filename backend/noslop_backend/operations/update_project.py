# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change a project's row, put a project away, restore it; and write metadata.json anew.

The row changes in the first transaction, so that an update is only ever finished.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp, IntentState, ProjectState
from noslop_backend.core.errors import RevisionConflictError
from noslop_backend.journal.intent import FileLockedError, IntentHandle, Operation, Request, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.project_metadata import write_metadata
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import ProjectPlan
from noslop_backend.operations.create_project import project_result
from noslop_backend.repositories import IntentRepository, ProjectRepository
from noslop_backend.schemas import ProjectUpdate
from noslop_backend.share import Share


class UpdateProject(Operation[ProjectPlan]):
    """A change of what is known about a project: only the fields that were set in `update`."""

    kind = IntentOp.UPDATE_PROJECT

    def __init__(
        self, project_id: str, update: ProjectUpdate, *, expected_revision: int | None, key: str | None
    ) -> None:
        arguments = (update.model_dump(mode="json", exclude_unset=True), expected_revision)
        super().__init__(project_id, Request(key, arguments))
        self.changes = update.model_dump(exclude_unset=True)
        self.expected_revision = expected_revision

    def enter(self, session: Session, now: datetime) -> None:
        """Change the row, if its revision is the expected one."""
        projects = ProjectRepository(session)
        project = projects.lock(self.project_id, ProjectState.PRESENT)
        if self.expected_revision not in {None, project.revision}:
            raise RevisionConflictError(
                f"The project {self.project_id} is at revision {project.revision}, not {self.expected_revision}: it "
                "was changed meanwhile. Read it again and decide anew.",
                revision=project.revision,
            )
        projects.change(project, self.changes, now)

    def prepare(self, _session: Session, _intent: IntentModel, _now: datetime) -> ProjectPlan:
        """Return what the audit log will hold."""
        return ProjectPlan(details={"changed": sorted(self.changes)})

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> Result:
        """Bring metadata.json up to what the database holds."""
        return _write(journal, share, handle)

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> IntentState:
        """Write metadata.json again."""
        _write(journal, share, handle)
        return IntentState.DONE


class MoveProject(UpdateProject):
    """A project that is put away (`away`) or comes back. Its files stay where they are and are still charged."""

    def __init__(self, project_id: str, *, away: bool) -> None:
        super().__init__(project_id, ProjectUpdate(), expected_revision=None, key=None)
        self.away = away

    def enter(self, session: Session, now: datetime) -> None:
        """Change the state of the row; a project goes away only when nothing is open in it."""
        projects = ProjectRepository(session)
        project = projects.lock(self.project_id, ProjectState.PRESENT if self.away else ProjectState.TRASHED)
        if self.away:
            require_at_rest(session, self.project_id)
        state = ProjectState.TRASHED if self.away else ProjectState.PRESENT
        projects.change(project, {"state": state, "trashed_at": now if self.away else None}, now)

    def prepare(self, _session: Session, _intent: IntentModel, _now: datetime) -> ProjectPlan:
        """Return what the audit log will hold."""
        return ProjectPlan(operation="trash_project" if self.away else "restore_project")


def require_at_rest(session: Session, project_id: str) -> None:
    """Refuse while anything is open in a project.

    Raises:
        FileLockedError: an intent is.
    """
    for intent in IntentRepository(session).open_in(project_id):
        raise FileLockedError(intent.id)


def _write(journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> Result:
    write_metadata(journal, share, handle)

    def apply(session: Session, _now: datetime) -> Result:
        return project_result(ProjectRepository(session).get(handle.project_id))

    return journal.finish(handle, apply)
