# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a project: its row, its directories and its metadata.json."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp, IntentState, ProjectState
from noslop_backend.core.errors import BackendError
from noslop_backend.journal.intent import IntentHandle, Operation, Request, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.project_metadata import write_metadata
from noslop_backend.models import IntentModel, ProjectModel
from noslop_backend.models.plans import ProjectPlan
from noslop_backend.repositories import IntentRepository, ProjectRepository
from noslop_backend.schemas import ProjectCreate, ProjectPublic
from noslop_backend.share import Share, layout


class CreateProject(Operation[ProjectPlan]):
    """A new project, with `defaults` for what the caller did not set."""

    kind = IntentOp.CREATE_PROJECT

    def __init__(self, create: ProjectCreate, defaults: dict[str, Any], key: str | None) -> None:
        project_id = layout.project_id(create.name, secrets.token_bytes(layout.PROJECT_ID_BYTES))
        # There is no project yet in which the key could mean something.
        super().__init__(project_id, Request(key, (create.model_dump(mode="json"),), scope=""))
        self.name = create.name
        self.values = defaults | create.model_dump(exclude_unset=True)

    def enter(self, session: Session, now: datetime) -> None:
        """Insert the project, hidden."""
        row = ProjectModel(
            id=self.project_id, folder_path=self.project_id, created_at=now, updated_at=now, **self.values
        )
        ProjectRepository(session).add(row)

    def prepare(self, _session: Session, _intent: IntentModel, _now: datetime) -> ProjectPlan:
        """Return what the audit log will hold."""
        return ProjectPlan(details={"name": self.name})

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> Result:
        """Make what the project has on the share, and show it."""
        return _make(journal, share, handle)

    def fail(
        self, journal: Journal, share: Share, handle: IntentHandle[ProjectPlan], _error: BaseException
    ) -> Result | None:
        """Remove a project that could not be made. When even that fails, recovery makes it after all."""
        if handle.published:
            return None
        try:
            with journal.database.write() as session:
                projects = ProjectRepository(session)
                projects.lock(handle.project_id)
                if not IntentRepository(session).update(handle.intent_id, handle.owner, key=None):
                    return None
                projects.delete(handle.project_id)
            share.remove_project(handle.project_id)
        except (BackendError, OSError):
            return None
        return None

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> IntentState:
        """Make what is missing of the project."""
        _make(journal, share, handle)
        return IntentState.DONE


def _make(journal: Journal, share: Share, handle: IntentHandle[ProjectPlan]) -> Result:
    share.make_project(handle.project_id)
    write_metadata(journal, share, handle)
    handle.published = True

    def apply(session: Session, _now: datetime) -> Result:
        project = ProjectRepository(session).lock(handle.project_id)
        project.state = ProjectState.PRESENT
        session.add(project)
        session.flush()
        return project_result(project)

    return journal.finish(handle, apply)


def project_result(project: ProjectModel) -> Result:
    """Return the answer that shows a project."""
    return {"project": ProjectPublic.model_validate(project).model_dump(mode="json")}
