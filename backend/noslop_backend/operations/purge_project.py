# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a project from the trash for good, with all its files and rows."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp, IntentState, ProjectState
from noslop_backend.core.errors import ConflictError
from noslop_backend.journal.intent import IntentHandle, Operation, Request, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import ProjectPlan
from noslop_backend.operations.purge import removal_result
from noslop_backend.operations.update_project import require_at_rest
from noslop_backend.repositories import CounterRepository, ProjectRepository
from noslop_backend.share import Share
from noslop_backend.share.layout import FileKind


class PurgeProject(Operation[ProjectPlan]):
    """A project that goes for good. Once begun this is only ever finished."""

    kind = IntentOp.PURGE_PROJECT

    def __init__(self, project_id: str) -> None:
        super().__init__(project_id, Request())

    def enter(self, session: Session, _now: datetime) -> None:
        """Hide the project, if it is in the trash and nothing is open in it."""
        projects = ProjectRepository(session)
        project = projects.lock(self.project_id, ProjectState.TRASHED, ProjectState.PRESENT)
        if project.state != ProjectState.TRASHED:
            raise ConflictError(f"The project {self.project_id} is not in the trash. Put it there first.")
        require_at_rest(session, self.project_id)
        project.state = ProjectState.PURGING
        session.add(project)
        session.flush()

    def prepare(self, _session: Session, _intent: IntentModel, _now: datetime) -> ProjectPlan:
        """Return an empty plan: the project's id says it all."""
        return ProjectPlan()

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> Result:
        """Remove the project's tree and rows."""
        return _remove(journal, share, handle)

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> IntentState:
        """Continue the removal wherever it stopped."""
        _remove(journal, share, handle)
        return IntentState.DONE


def _remove(journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> Result:
    share.remove_project(handle.project_id)

    def apply(session: Session, _now: datetime) -> Result:
        counters = CounterRepository(session).of(handle.project_id)
        files = sum(row.files_count for row in counters if row.kind != FileKind.SIDECAR)
        freed = ProjectRepository(session).delete(handle.project_id)
        handle.details = {"files_count": files, "freed_bytes": freed}
        return removal_result(files_count=files, freed_bytes=freed)

    return journal.finish(handle, apply)
