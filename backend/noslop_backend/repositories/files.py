# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the rows of files: what works on them, and which of them pays for a shared content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, insert, update
from sqlmodel import Session, col, select

from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import NotFoundError
from noslop_backend.models import FileModel
from noslop_backend.repositories.counters import Change
from noslop_backend.repositories.pages import Cursor, paged
from noslop_backend.repositories.search import SearchRepository
from noslop_backend.share.layout import DOCUMENTS, INTERMEDIATE, MEDIA, FileKind, is_file_id


class FileRepository:
    """Statements on `file`. Counters are changed by what calls them: see `ProjectRepository.apply_delta`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, rows: Sequence[FileModel], texts: Mapping[str, str] | None = None) -> None:
        """Insert rows in this order, with their entries for the search.

        A sidecar comes after what it describes. The rows are not the session's after that.

        Args:
            rows: the rows.
            texts: contents that the search looks through, by id.
        """
        values = [{name: getattr(row, name) for name in FileModel.model_fields} for row in rows]
        self.session.connection().execute(_INSERT, values)
        SearchRepository(self.session).add(rows, texts)

    def get(self, project_id: str, file_id: str, *states: FileState) -> FileModel:
        """Return one file as it is now.

        Raises:
            NotFoundError: there is none in the project, or it is in none of `states` (all by default).
        """
        row = next(iter(self.some(project_id, [file_id])), None)
        if row is None or (states and row.state not in states):
            state = "" if row is None else f": it is {row.state}"
            raise NotFoundError(f"The project {project_id} has no such file {file_id!r}{state}.", file_id=file_id)
        return row

    def some(self, project_id: str, file_ids: Sequence[str]) -> list[FileModel]:
        """Return those of these files that the project has, by id."""
        return list(
            self.session.exec(
                select(FileModel)
                .where(FileModel.project_id == project_id, col(FileModel.id).in_(list(filter(is_file_id, file_ids))))
                .order_by(col(FileModel.id))
                .execution_options(populate_existing=True)
            )
        )

    def with_sidecars(self, project_id: str, file_ids: Sequence[str]) -> list[FileModel]:
        """Return these files and everything that describes them, each after what it describes."""
        files = self.some(project_id, file_ids)
        sidecars = self.session.exec(
            select(FileModel)
            .where(FileModel.project_id == project_id, col(FileModel.of_file_id).in_([row.id for row in files]))
            .order_by(col(FileModel.id))
            .execution_options(populate_existing=True)
        )
        named = {row.id for row in files}
        return [*files, *(row for row in sidecars if row.id not in named)]

    def sidecars(self, file_id: str) -> list[FileModel]:
        """Return everything that describes a file, oldest first."""
        return list(
            self.session.exec(select(FileModel).where(FileModel.of_file_id == file_id).order_by(FileModel.path))
        )

    def next_sidecar(self, file_id: str) -> int:
        """Allocate the number of a further sidecar. It is never given again."""
        number = self.session.connection().execute(
            update(FileModel)
            .where(col(FileModel.id) == file_id)
            .values(last_sidecar=col(FileModel.last_sidecar) + 1)
            .returning(col(FileModel.last_sidecar))
        )
        return int(number.scalar_one())

    def raise_last_sidecar(self, file_id: str, number: int) -> None:
        """Reserve all numbers of sidecars up to this one: none of them is given again."""
        self.session.connection().execute(
            update(FileModel)
            .where(col(FileModel.id) == file_id, col(FileModel.last_sidecar) < number)
            .values(last_sidecar=number)
        )

    def described(self, above: str, limit: int, among: Sequence[str] | None = None) -> list[FileModel]:
        """Return files of any project that are no sidecars, in the order of their ids, above one; `among` these."""
        statement = select(FileModel).where(FileModel.id > above, FileModel.kind != FileKind.SIDECAR)
        if among is not None:
            statement = statement.where(col(FileModel.id).in_(among))
        return list(self.session.exec(statement.order_by(col(FileModel.id)).limit(limit)))

    def versions_above(self, above: str, limit: int) -> list[FileModel]:
        """Return versions of workflows and prompts of any project, present or in the trash, by id, above one."""
        statement = select(FileModel).where(
            FileModel.id > above,
            col(FileModel.kind).in_(sorted(DOCUMENTS)),
            col(FileModel.state).in_([FileState.PRESENT, FileState.TRASHED]),
        )
        return list(self.session.exec(statement.order_by(col(FileModel.id)).limit(limit)))

    def uninspected(self, above: str, limit: int, project_id: str | None) -> list[FileModel]:
        """Return present media and intermediates of which nothing is recorded, in the order of their ids, above one.

        Args:
            above: an id, or nothing.
            limit: how many at most.
            project_id: of this project; None for all.
        """
        statement = select(FileModel).where(
            FileModel.id > above,
            FileModel.state == FileState.PRESENT,
            col(FileModel.kind).in_(sorted(MEDIA | INTERMEDIATE)),
            col(FileModel.facts).is_(None),
            col(FileModel.fields).is_(None),
        )
        if project_id is not None:
            statement = statement.where(FileModel.project_id == project_id)
        return list(self.session.exec(statement.order_by(col(FileModel.id)).limit(limit)))

    def trashed_bytes(self, project_id: str, before: datetime) -> int:
        """Return what files cost that were put into the trash before a moment."""
        return int(
            self.session.exec(
                select(func.coalesce(func.sum(col(FileModel.charged_bytes)), 0)).where(
                    FileModel.project_id == project_id,
                    FileModel.state == FileState.TRASHED,
                    col(FileModel.trashed_at) < before,
                )
            ).one()
        )

    def page(
        self,
        project_id: str,
        *,
        kinds: frozenset[FileKind],
        state: FileState,
        document_id: str | None = None,
        of_file_id: str | None = None,
        cursor: Cursor | None,
        limit: int,
        newest_first: bool,
    ) -> list[FileModel]:
        """Return some files, by when they came."""
        statement = select(FileModel).where(FileModel.project_id == project_id, FileModel.state == state)
        if len(kinds) < len(FileKind):
            statement = statement.where(col(FileModel.kind).in_(sorted(kinds)))
        if document_id is not None:
            statement = statement.where(FileModel.document_id == document_id)
        if of_file_id is not None:
            statement = statement.where(FileModel.of_file_id == of_file_id)
        return list(self.session.exec(paged(statement, FileModel, cursor, limit, newest_first=newest_first)))

    def trashed(self, project_id: str, before: datetime | None, limit: int) -> list[str]:
        """Return ids of files in the trash, in the order in which they were put there, without sidecars."""
        statement = select(FileModel.id).where(
            FileModel.project_id == project_id,
            FileModel.state == FileState.TRASHED,
            col(FileModel.of_file_id).is_(None),
        )
        if before is not None:
            statement = statement.where(col(FileModel.trashed_at) < before)
        return list(self.session.exec(statement.order_by(col(FileModel.trashed_at), col(FileModel.id)).limit(limit)))

    def intermediates(
        self,
        project_id: str,
        kinds: Iterable[FileKind] = INTERMEDIATE,
        before: datetime | None = None,
        cursor: Cursor | None = None,
        limit: int = 1000,
    ) -> list[FileModel]:
        """Return present intermediates, oldest first. What removes some has locked the project."""
        statement = select(FileModel).where(
            FileModel.project_id == project_id,
            FileModel.state == FileState.PRESENT,
            col(FileModel.kind).in_(sorted(kinds)),
        )
        if before is not None:
            statement = statement.where(col(FileModel.created_at) < before)
        statement = paged(statement, FileModel, cursor, limit).execution_options(populate_existing=True)
        return list(self.session.exec(statement))

    def claim_files(self, rows: Iterable[FileModel], intent_id: str, state: FileState | None = None) -> None:
        """Record that an intent works on these rows, and optionally what they are meanwhile."""
        for row in rows:
            row.intent_id = intent_id
            if state is not None:
                row.state = state
            self.session.add(row)
        self.session.flush()

    def taken(self, intent_id: str) -> list[FileModel]:
        """Return the rows that an intent works on."""
        return list(
            self.session.exec(
                select(FileModel)
                .where(FileModel.intent_id == intent_id)
                .order_by(col(FileModel.id))
                .execution_options(populate_existing=True)
            )
        )

    def release_files(self, intent_id: str) -> None:
        """Record that an intent works on nothing any more."""
        self.session.exec(update(FileModel).where(col(FileModel.intent_id) == intent_id).values(intent_id=None))

    def charge_heirs(self, rows: Sequence[FileModel]) -> Change:
        """Let the files that share contents with these rows pay for them, because the rows go.

        Returns:
            What that means for the project's counters.
        """
        heirs = self.heirs(rows)
        change = Change().add(rows, -1).add(heirs, -1)
        for heir in heirs:
            heir.charged_bytes = heir.size_bytes
            self.session.add(heir)
        self.session.flush()
        return change.add(heirs)

    def heirs(self, rows: Sequence[FileModel]) -> list[FileModel]:
        """Return rows that pay from now on for what these, which go, had paid: one for each content that lives on."""
        going = {row.id for row in rows}
        contents = {row.content_id for row in rows if row.charged_bytes}
        candidates = self.session.exec(
            select(FileModel)
            .where(
                col(FileModel.content_id).in_(contents),
                col(FileModel.id).not_in(going),
                col(FileModel.state).not_in([FileState.PURGING, FileState.MISSING]),
            )
            .order_by(col(FileModel.created_at), col(FileModel.id))
            .execution_options(populate_existing=True)
        ).all()
        payers: dict[str, FileModel] = {}
        for row in candidates:
            payers.setdefault(row.content_id, row)
        return list(payers.values())

    def delete(self, file_ids: Sequence[str]) -> None:
        """Remove rows, and with them the references from and to them."""
        self.session.exec(delete(FileModel).where(col(FileModel.of_file_id).in_(file_ids)))
        self.session.exec(delete(FileModel).where(col(FileModel.id).in_(file_ids)))
        self.session.expire_all()


# Built once, as in `projects`.
_INSERT = insert(FileModel)
