# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read everything of a project, row after row, for an archive."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, or_, select

from noslop_backend.core.enums import FileState
from noslop_backend.models import DocumentModel, FileModel, ReferenceModel
from noslop_backend.share.layout import FileKind

#: What an archive holds.
STATES = (FileState.PRESENT, FileState.TRASHED)
_AT_ONCE = 500


class ExportCRUD:
    """Statements that read a whole project; rows come a few hundred at a time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        if session.get_bind().dialect.name == "postgresql":
            # All statements see one state; SQLite's transactions do by themselves.
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})

    def missing(self, project_id: str) -> int:
        """Return how many files are not on the share any more."""
        statement = select(func.count()).where(FileModel.project_id == project_id, FileModel.state == FileState.MISSING)
        return int(self.session.exec(statement.select_from(FileModel)).one())

    def documents(self, project_id: str) -> Iterator[DocumentModel]:
        """Yield every document, also those without a version."""
        yield from self.session.exec(
            select(DocumentModel)
            .where(DocumentModel.project_id == project_id)
            .order_by(col(DocumentModel.created_at), col(DocumentModel.id))
            .execution_options(yield_per=_AT_ONCE)
        )

    def files(self, project_id: str) -> Iterator[tuple[FileModel, str | None]]:
        """Yield every present or trashed file, with the id of the one before it whose content it shares.

        First those that pay for their content, then those that share it, then the sidecars: each after what it needs.
        """
        here = select(FileModel).where(FileModel.project_id == project_id, col(FileModel.state).in_(STATES))
        own = or_(col(FileModel.charged_bytes) > 0, col(FileModel.size_bytes) == 0)
        plain = here.where(FileModel.kind != FileKind.SIDECAR)
        order = (col(FileModel.created_at), col(FileModel.id))
        options = {"yield_per": _AT_ONCE}
        for row in self.session.exec(plain.where(own).order_by(*order).execution_options(**options)):
            yield row, None
        for row in self.session.exec(plain.where(~own).order_by(*order).execution_options(**options)):
            yield row, self._payer(row)
        of = aliased(FileModel)
        sidecars = here.join(of, col(of.id) == col(FileModel.of_file_id)).where(col(of.state).in_(STATES))
        for row in self.session.exec(sidecars.order_by(*order).execution_options(**options)):
            yield row, None

    def _payer(self, row: FileModel) -> str | None:
        return self.session.exec(
            select(FileModel.id).where(
                FileModel.project_id == row.project_id,
                FileModel.content_id == row.content_id,
                FileModel.size_bytes == row.size_bytes,
                col(FileModel.charged_bytes) > 0,
                col(FileModel.state).in_(STATES),
            )
        ).first()

    def needs(self, project_id: str) -> Iterator[tuple[str, str]]:
        """Yield which file needs which."""
        one, two = aliased(FileModel), aliased(FileModel)
        statement = (
            select(ReferenceModel.from_file_id, ReferenceModel.to_file_id)
            .join(one, col(one.id) == col(ReferenceModel.from_file_id))
            .join(two, col(two.id) == col(ReferenceModel.to_file_id))
            .where(one.project_id == project_id, col(one.state).in_(STATES), col(two.state).in_(STATES))
            .order_by(col(ReferenceModel.from_file_id), col(ReferenceModel.to_file_id))
        )
        for from_id, to_id in self.session.exec(statement.execution_options(yield_per=_AT_ONCE)):
            if from_id is not None:
                yield from_id, to_id
