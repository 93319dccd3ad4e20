# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects: made, changed, put away, and removed with everything in them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import IntentOp, ProjectState
from noslop_backend.core.errors import BackendError, ConflictError, InvalidRequestError, RevisionConflictError
from noslop_backend.journal import audit
from noslop_backend.journal.intent import FileLockedError, IntentHandle, IntentLostError, Request
from noslop_backend.journal.journal import Prepare
from noslop_backend.models import ProjectModel
from noslop_backend.operations.purge import Removals
from noslop_backend.repositories import CounterRepository, Cursor, IntentRepository, ProjectRepository, StoreRepository
from noslop_backend.repositories.pages import check_limit
from noslop_backend.schemas import Page, ProjectCreate, ProjectPublic, ProjectUpdate, RemovalReport
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import FileKind


class Projects(Removals):
    """The part of the service about whole projects."""

    def create_project_structure(self, create: ProjectCreate, *, key: str | None = None) -> ProjectPublic:
        """Make a project: its row, its directories and its metadata.json."""
        project_id = layout.project_id(create.name, secrets.token_bytes(layout.PROJECT_ID_BYTES))
        given = create.model_dump(exclude_unset=True)
        defaults = {
            "quota_bytes": self.settings.project_quota_bytes,
            "intermediate_days": self.settings.intermediate_days,
            "trash_days": self.settings.trash_days,
        }

        def enter(session: Session, now: datetime) -> None:
            values = create.model_dump() | {name: value for name, value in defaults.items() if name not in given}
            row = ProjectModel(id=project_id, folder_path=project_id, created_at=now, updated_at=now, **values)
            ProjectRepository(session).add(row)

        request = Request(key, (create.model_dump(mode="json"),), scope="")
        with self.share() as share:
            handle = self.begin(project_id, IntentOp.CREATE_PROJECT, request, _noted(name=create.name), enter=enter)
            if handle.answer is not None:
                return ProjectPublic.model_validate(handle.answer["project"])
            try:
                result = self.execute_creation(share, handle)
            except IntentLostError:
                result = self.outcome(handle)
            except BaseException:
                self._undo_creation(share, handle)
                raise
        return ProjectPublic.model_validate(result["project"])

    def execute_creation(self, share: Share, handle: IntentHandle) -> dict[str, Any]:
        """Make what a new project has on the share; goes on wherever somebody stopped."""
        share.make_project(handle.project_id)
        self.write_metadata(share, handle)

        def apply(session: Session, _now: datetime) -> dict[str, Any]:
            project = ProjectRepository(session).lock(handle.project_id)
            project.state = ProjectState.PRESENT
            session.add(project)
            session.flush()
            return _result(project)

        handle.published = True
        return self.finish(handle, apply)

    def _undo_creation(self, share: Share, handle: IntentHandle) -> None:
        """Forget a project that could not be made. When even that fails, recovery makes it after all."""
        if handle.published:
            return
        try:
            with self.database.write() as session:
                projects = ProjectRepository(session)
                projects.lock(handle.project_id)
                if not IntentRepository(session).update(handle.intent_id, handle.owner, key=None):
                    return
                projects.delete(handle.project_id)
            share.remove_project(handle.project_id)
        except (BackendError, OSError):
            return

    def get_project(self, project_id: str) -> ProjectPublic:
        """Give one project, in whatever state it is."""
        with self.database.read() as session:
            return ProjectPublic.model_validate(ProjectRepository(session).get(project_id))

    def list_projects(
        self,
        *,
        state: ProjectState = ProjectState.PRESENT,
        only: frozenset[str] | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[ProjectPublic]:
        """List projects, oldest first; `only` those of these ids, or all. `limit` is 1 to 1000."""
        with self.database.read() as session:
            rows = ProjectRepository(session).page(state, Cursor.decode(cursor), check_limit(limit) + 1, only)
        items = [ProjectPublic.model_validate(row) for row in rows[:limit]]
        more = Cursor(items[-1].created_at, items[-1].id).encode() if len(rows) > limit else None
        return Page(items=items, next_cursor=more)

    def update_project_metadata(
        self, project_id: str, update: ProjectUpdate, *, expected_revision: int | None = None, key: str | None = None
    ) -> ProjectPublic:
        """Change what is known about a project, its quota and retention included, and write metadata.json anew.

        Only the fields that were set in `update` change.

        Raises:
            RevisionConflictError: `expected_revision` was given and is not the revision any more.
        """
        changes = update.model_dump(exclude_unset=True)

        def change(session: Session, project: ProjectModel, now: datetime) -> None:
            if expected_revision not in {None, project.revision}:
                raise RevisionConflictError(
                    f"The project {project_id} is at revision {project.revision}, not {expected_revision}: somebody "
                    "changed it. "
                    "Read it again and decide anew.",
                    revision=project.revision,
                )
            ProjectRepository(session).change(project, changes, now)

        arguments = (update.model_dump(mode="json", exclude_unset=True), expected_revision)
        return self._change(
            project_id, ProjectState.PRESENT, Request(key, arguments), change, _noted(changed=sorted(changes))
        )

    def set_store_quota(self, quota_bytes: int | None) -> None:
        """Limit what all projects may cost together; None takes the limit away. What is there stays."""
        if quota_bytes is not None and not 0 <= quota_bytes < 2**63:
            raise InvalidRequestError("A quota is a number of bytes, or none.")
        with self.database.write() as session:
            StoreRepository(session).set_quota(quota_bytes)
            audit.record(session, clock(session), "set_store_quota", details={"quota_bytes": quota_bytes})

    def trash_project(self, project_id: str) -> ProjectPublic:
        """Put a whole project away: it takes no writes, its files stay where they are and are still charged.

        Raises:
            InProgressError: something is being written into it.
        """

        def change(session: Session, project: ProjectModel, now: datetime) -> None:
            self._at_rest(session, project_id)
            ProjectRepository(session).change(project, {"state": ProjectState.TRASHED, "trashed_at": now}, now)

        return self._change(project_id, ProjectState.PRESENT, Request(), change, _noted("trash_project"))

    def restore_project(self, project_id: str) -> ProjectPublic:
        """Bring a project back from the trash."""

        def change(session: Session, project: ProjectModel, now: datetime) -> None:
            ProjectRepository(session).change(project, {"state": ProjectState.PRESENT, "trashed_at": None}, now)

        return self._change(project_id, ProjectState.TRASHED, Request(), change, _noted("restore_project"))

    def purge_project(self, project_id: str) -> RemovalReport:
        """Remove a project from the trash for good, with all its files and rows.

        Raises:
            ConflictError: the project is not in the trash.
        """

        def enter(session: Session, _now: datetime) -> None:
            projects = ProjectRepository(session)
            project = projects.lock(project_id, ProjectState.TRASHED, ProjectState.PRESENT)
            if project.state != ProjectState.TRASHED:
                raise ConflictError(f"The project {project_id} is not in the trash. Put it there first.")
            self._at_rest(session, project_id)
            project.state = ProjectState.PURGING
            session.add(project)
            session.flush()

        with self.share() as share:
            handle = self.begin(project_id, IntentOp.PURGE_PROJECT, Request(), _noted(), enter=enter)
            result = self.continue_published(handle, lambda: self.execute_project_purge(share, handle))
        return self.report_of(project_id, result)

    def execute_project_purge(self, share: Share, handle: IntentHandle) -> dict[str, Any]:
        """Remove a project's tree and rows; goes on wherever somebody stopped."""
        share.remove_project(handle.project_id)

        def apply(session: Session, _now: datetime) -> dict[str, Any]:
            files = sum(
                row.files_count
                for row in CounterRepository(session).of(handle.project_id)
                if row.kind != FileKind.SIDECAR
            )
            freed = ProjectRepository(session).delete(handle.project_id)
            handle.details = {"files_count": files, "freed_bytes": freed}
            return {"files": [], "files_count": files, "freed_bytes": freed}

        return self.finish(handle, apply)

    @staticmethod
    def _at_rest(session: Session, project_id: str) -> None:
        """Refuse while anything is open in a project."""
        for intent in IntentRepository(session).open_in(project_id):
            raise FileLockedError(intent.id)

    def _change(
        self,
        project_id: str,
        state: ProjectState,
        request: Request,
        change: Callable[[Session, ProjectModel, datetime], None],
        noted: Prepare,
    ) -> ProjectPublic:
        def enter(session: Session, now: datetime) -> None:
            change(session, ProjectRepository(session).lock(project_id, state), now)

        with self.share() as share:
            handle = self.begin(project_id, IntentOp.UPDATE_PROJECT, request, noted, enter=enter)
            result = self.continue_published(handle, lambda: self.execute_update(share, handle))
        return ProjectPublic.model_validate(result["project"])

    def execute_update(self, share: Share, handle: IntentHandle) -> dict[str, Any]:
        """Bring metadata.json up to what the database says; goes on wherever somebody stopped."""
        self.write_metadata(share, handle)

        def apply(session: Session, _now: datetime) -> dict[str, Any]:
            return _result(ProjectRepository(session).get(handle.project_id))

        return self.finish(handle, apply)


def _noted(operation: str = "", **details: Any) -> Prepare:  # noqa: ANN401 - any JSON
    """Return a plan that holds only what the audit log will say."""
    return lambda _session, _intent, _now: {"operation": operation, "details": details}


def _result(project: ProjectModel) -> dict[str, Any]:
    return {"project": ProjectPublic.model_validate(project).model_dump(mode="json")}
