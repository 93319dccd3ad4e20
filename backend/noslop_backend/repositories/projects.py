# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write projects: their rows, their room, and their counters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, case, delete, func, or_, update
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select

from noslop_backend.core.enums import FileState, IntentState, ProjectState, ProjectStatus
from noslop_backend.core.errors import ConflictError, NotFoundError, QuotaExceededError
from noslop_backend.models import DocumentModel, FileModel, IntentModel, ProjectModel
from noslop_backend.repositories.counters import Change, CounterRepository
from noslop_backend.repositories.pages import Cursor, paged
from noslop_backend.repositories.store import StoreRepository
from noslop_backend.share.layout import FileKind, is_project_id, normalize_title


@dataclass(frozen=True)
class Totals:
    """What present projects have and cost together."""

    projects: int
    workflows: int
    media: int


class ProjectRepository:
    """Statements on `project`. Its row is the first that a writing transaction locks."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, project: ProjectModel) -> None:
        """Insert a project."""
        self.session.add(project)
        self.session.flush()

    def get(self, project_id: str, *states: ProjectState) -> ProjectModel:
        """Return a project as it is now.

        Raises:
            NotFoundError: there is none, or it is in none of `states` (all by default).
        """
        _check(project_id)
        project = self.session.exec(_GET, params={"of_id": project_id}).first()
        if project is None or (states and project.state not in states):
            raise missing(project_id, project)
        return project

    def lock(self, project_id: str, *states: ProjectState) -> ProjectModel:
        """Return a project that only this transaction changes until it ends.

        Raises:
            NotFoundError: there is none, or it is in none of `states` (all by default).
        """
        _check(project_id)
        project = self.session.exec(_LOCK, params={"of_id": project_id}).first()
        if project is None or (states and project.state not in states):
            raise missing(project_id, project)
        return project

    def lock_row(self, project_id: str) -> None:
        """Keep other transactions from changing a project until this one ends, without reading it.

        Raises:
            NotFoundError: there is none.
        """
        connection = self.session.connection()
        # A transaction that writes has all of a SQLite database for itself from its beginning.
        if connection.dialect.name == "sqlite":
            return
        if connection.execute(_LOCK_ROW, {"of_id": project_id}).first() is None:
            raise missing(project_id)

    def get_folder_path(self, project_id: str, storage_dir: Path) -> Path:
        """Return the whole path of a project's directory, the same on every host of the studio.

        Raises:
            NotFoundError: there is no such project.
        """
        return storage_dir / self.get(project_id).folder_path

    def page(
        self,
        state: ProjectState,
        cursor: Cursor | None,
        limit: int,
        only: frozenset[str] | None = None,
        *,
        newest_first: bool = False,
    ) -> list[ProjectModel]:
        """Return some projects in a state, by when they were made; `only` these, or all."""
        statement = select(ProjectModel).where(ProjectModel.state == state)
        if only is not None:
            statement = statement.where(col(ProjectModel.id).in_(sorted(only)))
        return list(self.session.exec(paged(statement, ProjectModel, cursor, limit, newest_first=newest_first)))

    def ids(self, *states: ProjectState) -> list[str]:
        """Return the ids of all projects in these states."""
        statement = select(ProjectModel.id).where(col(ProjectModel.state).in_(states)).order_by(col(ProjectModel.id))
        return list(self.session.exec(statement))

    def named(self, name: str) -> list[str]:
        """Return the ids of all projects of exactly this name, or else of its normal form."""
        for each in dict.fromkeys((name, normalize_title(name))):
            statement = select(ProjectModel.id).where(ProjectModel.name == each).order_by(col(ProjectModel.id))
            if ids := list(self.session.exec(statement)):
                return ids
        return []

    def totals(self) -> Totals:
        """Return sums over present projects: of as many rows as there are projects, never as there are files."""
        sums = self.session.exec(
            select(
                func.count(),
                func.coalesce(func.sum(col(ProjectModel.workflows_count)), 0),
                func.coalesce(func.sum(col(ProjectModel.media_count)), 0),
            ).where(ProjectModel.state == ProjectState.PRESENT)
        ).one()
        return Totals(*(int(value) for value in sums))

    def change(self, project: ProjectModel, changes: dict[str, Any], moment: datetime) -> None:
        """Change a project that is locked, and count its revision up."""
        for name, value in changes.items():
            setattr(project, name, value)
        project.revision += 1
        project.updated_at = moment
        self.session.add(project)
        self.session.flush()

    def reserve(self, project_id: str, size_bytes: int, *, own_bytes: int = 0, even_archived: bool = False) -> None:
        """Set bytes aside for a write, and lock the project. The store's are reserved apart, last in the transaction.

        Args:
            project_id: the project.
            size_bytes: how many more.
            own_bytes: what the same write has reserved before: part of what it asks for, and not of what is used.
            even_archived: an archived project too.

        Raises:
            NotFoundError: no present project of that id.
            ConflictError: the project is archived, and not `even_archived`: for what only removes.
            QuotaExceededError: there is no room.
        """
        _check(project_id)
        # What needs no room is never refused for want of it.
        statement = _RESERVE_WITHIN if size_bytes else _RESERVE_PRESENT if even_archived else _RESERVE
        done = self.session.connection().execute(statement, {"of_id": project_id, "more_bytes": size_bytes})
        if not done.rowcount:
            project = self.get(project_id, ProjectState.PRESENT)
            if project.status == ProjectStatus.ARCHIVED:
                raise ConflictError(
                    f"The project {project_id} is archived and accepts no writes. Set its status to active first.",
                    project_id=project_id,
                )
            taken, size_bytes = project.used_bytes + project.reserved_bytes - own_bytes, size_bytes + own_bytes
            free = max(0, (project.quota_bytes or 0) - taken)
            raise QuotaExceededError(
                f"The project {project_id} has no room for {size_bytes} bytes: {taken} are used or reserved and "
                f"{free} are "
                f"free of {project.quota_bytes}. Purge its trash, clean up its intermediates, or raise its quota.",
                scope="project",
                used_bytes=taken,
                asked_bytes=size_bytes,
                free_bytes=free,
            )

    def unreserve(self, project_id: str, size_bytes: int) -> None:
        """Take a reservation back in the project, before it came to the store."""
        self.session.connection().execute(_RESERVE_ANYWHERE, {"of_id": project_id, "more_bytes": -size_bytes})

    def apply_delta(self, project_id: str, change: Change, *, reserved_bytes: int = 0, workflows: int = 0) -> None:
        """Put what rows came and went into every counter, and take so much away from what is reserved.

        The store's row is locked by this: it comes last in a transaction.
        """
        charged = change.charged_bytes
        if charged or reserved_bytes or workflows or change.media:
            more = {"more_used": charged, "more_reserved": -reserved_bytes, "more_media": change.media}
            self.session.connection().execute(_APPLY_DELTA, {"of_id": project_id, **more, "more_workflows": workflows})
        CounterRepository(self.session).apply(project_id, change)
        StoreRepository(self.session).apply_delta(charged, -reserved_bytes)

    def delete(self, project_id: str) -> int:
        """Remove a project's row and everything that belongs to it; gives what it had cost."""
        project = self.lock(project_id)
        used, reserved = project.used_bytes, project.reserved_bytes
        self.session.expunge(project)
        self.session.exec(delete(ProjectModel).where(col(ProjectModel.id) == project_id))
        StoreRepository(self.session).apply_delta(-used, -reserved)
        return used

    def update_storage_stats(self, project_id: str) -> list[str]:
        """Compute every counter of a project anew from its rows.

        Returns:
            What had drifted, a line each; empty when all was right.

        Raises:
            NotFoundError: there is no such project.
        """
        project = self.lock(project_id)
        fresh = self._counted(project_id)
        documents = self._versions(project_id)
        drift = [f"tally {line}" for line in CounterRepository(self.session).replace(project_id, fresh)]
        reserved = self.session.exec(
            select(func.coalesce(func.sum(col(IntentModel.reserved_bytes)), 0)).where(
                IntentModel.project_id == project_id, IntentModel.state == IntentState.OPEN
            )
        ).one()
        values = {
            "used_bytes": fresh.charged_bytes,
            "reserved_bytes": int(reserved),
            "media_count": fresh.media,
            "workflows_count": documents,
        }
        more = {name: value - getattr(project, name) for name, value in values.items()}
        for name, difference in more.items():
            if difference:
                drift.append(f"{name}: {getattr(project, name)} -> {values[name]}")
                setattr(project, name, values[name])
        self.session.add(project)
        self.session.flush()
        StoreRepository(self.session).apply_delta(more["used_bytes"], more["reserved_bytes"])
        return drift

    def _counted(self, project_id: str) -> Change:
        counted = (func.count(), func.sum(col(FileModel.size_bytes)), func.sum(col(FileModel.charged_bytes)))
        rows = self.session.connection().execute(
            sql_select(col(FileModel.kind), col(FileModel.state), *counted)
            .where(col(FileModel.project_id) == project_id)
            .group_by(col(FileModel.kind), col(FileModel.state))
        )
        change = Change()
        for kind, state, files, size, charged in rows:
            change.count(kind, state, int(files), int(size), int(charged))
        return change

    def _versions(self, project_id: str) -> int:
        """Set each document's count of present versions; gives how many workflows have one."""
        present = case((col(FileModel.state) == FileState.PRESENT, 1))
        rows = self.session.exec(
            select(DocumentModel, func.count(present))
            .join(FileModel, col(FileModel.document_id) == col(DocumentModel.id), isouter=True)
            .where(DocumentModel.project_id == project_id)
            .group_by(*DocumentModel.__table__.columns)  # type: ignore[attr-defined]  # SQLModel declares it untyped
        ).all()
        for document, count in rows:
            document.versions_count = int(count)
            self.session.add(document)
        self.session.flush()
        return sum(1 for document, count in rows if document.kind == FileKind.WORKFLOW and count)


# What every request or write needs, built once: SQLAlchemy takes longer to build and look up a statement than SQLite
# takes to carry it out.
_HERE = col(ProjectModel.id) == bindparam("of_id")
_GET = select(ProjectModel).where(_HERE).execution_options(populate_existing=True)
_LOCK = _GET.with_for_update()
_LOCK_ROW = select(ProjectModel.id).where(_HERE).with_for_update()
_RESERVE_ANYWHERE = (
    update(ProjectModel).where(_HERE).values(reserved_bytes=col(ProjectModel.reserved_bytes) + bindparam("more_bytes"))
)
_RESERVE_PRESENT = _RESERVE_ANYWHERE.where(col(ProjectModel.state) == ProjectState.PRESENT)
_RESERVE = _RESERVE_PRESENT.where(col(ProjectModel.status) != ProjectStatus.ARCHIVED)
_RESERVE_WITHIN = _RESERVE.where(
    or_(
        col(ProjectModel.quota_bytes).is_(None),
        col(ProjectModel.used_bytes) + col(ProjectModel.reserved_bytes) + bindparam("more_bytes")
        <= col(ProjectModel.quota_bytes),
    )
)
_APPLY_DELTA = (
    update(ProjectModel)
    .where(_HERE)
    .values(
        used_bytes=col(ProjectModel.used_bytes) + bindparam("more_used"),
        reserved_bytes=col(ProjectModel.reserved_bytes) + bindparam("more_reserved"),
        media_count=col(ProjectModel.media_count) + bindparam("more_media"),
        workflows_count=col(ProjectModel.workflows_count) + bindparam("more_workflows"),
    )
)


def _check(project_id: str) -> None:
    """Keep from the database what can be no id, and what it might choke on."""
    if not is_project_id(project_id):
        raise missing(project_id)


def missing(project_id: str, project: ProjectModel | None = None) -> NotFoundError:
    """Return the error for a project that does not exist, or that is in the wrong state."""
    if project is None:
        message = f"There is no project {project_id!r}. List the projects to see which there are."
    elif project.state == ProjectState.TRASHED:
        message = f"The project {project_id} is in the trash. Restore it first."
    else:
        message = f"The project {project_id} is {project.state}; this is not possible now."
    return NotFoundError(message, project_id=project_id)
