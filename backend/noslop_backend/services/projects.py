# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, list, change and put away projects, and remove them with everything in them."""

from __future__ import annotations

from noslop_backend.core.database import clock
from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal import audit
from noslop_backend.journal.journal import Journal
from noslop_backend.operations.create_project import CreateProject
from noslop_backend.operations.purge_project import PurgeProject
from noslop_backend.operations.update_project import MoveProject, UpdateProject
from noslop_backend.repositories import Cursor, ProjectRepository, StoreRepository
from noslop_backend.repositories.pages import check_limit
from noslop_backend.schemas import Page, ProjectCreate, ProjectPublic, ProjectUpdate, RemovalReport
from noslop_backend.services.pages import make_page


class Projects:
    """The service of whole projects."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.settings = journal.settings
        self.database = journal.database

    def create_project_structure(self, create: ProjectCreate, *, key: str | None = None) -> ProjectPublic:
        """Make a project: its row, its directories and its metadata.json."""
        defaults = {
            "quota_bytes": self.settings.project_quota_bytes,
            "intermediate_days": self.settings.intermediate_days,
            "trash_days": self.settings.trash_days,
        }
        result = self.journal.run(CreateProject(create, defaults, key))
        return ProjectPublic.model_validate(result["project"])

    def get_project(self, project_id: str) -> ProjectPublic:
        """Return one project, in whatever state it is."""
        with self.database.read() as session:
            return ProjectPublic.model_validate(ProjectRepository(session).get(project_id))

    def list_projects(
        self,
        *,
        state: ProjectState = ProjectState.PRESENT,
        only: frozenset[str] | None = None,
        newest_first: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[ProjectPublic]:
        """List projects by when they were made; `only` those of these ids, or all. `limit` is 1 to 1000."""
        with self.database.read() as session:
            rows = ProjectRepository(session).page(
                state, Cursor.decode(cursor), check_limit(limit) + 1, only, newest_first=newest_first
            )
        return make_page(ProjectPublic, rows, limit)

    def update_project_metadata(
        self, project_id: str, update: ProjectUpdate, *, expected_revision: int | None = None, key: str | None = None
    ) -> ProjectPublic:
        """Change what is known about a project, its quota and retention included, and write metadata.json anew.

        Only the fields that were set in `update` change.

        Raises:
            RevisionConflictError: `expected_revision` was given and is not the revision any more.
        """
        result = self.journal.run(UpdateProject(project_id, update, expected_revision=expected_revision, key=key))
        return ProjectPublic.model_validate(result["project"])

    def set_store_quota(self, quota_bytes: int | None) -> None:
        """Limit what all projects may cost together; None removes the limit. What is there stays."""
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
        return ProjectPublic.model_validate(self.journal.run(MoveProject(project_id, away=True))["project"])

    def restore_project(self, project_id: str) -> ProjectPublic:
        """Bring a project back from the trash."""
        return ProjectPublic.model_validate(self.journal.run(MoveProject(project_id, away=False))["project"])

    def purge_project(self, project_id: str) -> RemovalReport:
        """Remove a project from the trash for good, with all its files and rows.

        Raises:
            ConflictError: the project is not in the trash.
        """
        result = self.journal.run(PurgeProject(project_id))
        return RemovalReport(files_count=result["files_count"], freed_bytes=result["freed_bytes"])
