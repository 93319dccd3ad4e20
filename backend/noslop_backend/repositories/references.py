# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write references: which file needs which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, delete
from sqlmodel import Session, col, select

from noslop_backend.core.enums import FileState
from noslop_backend.models import FileModel, ReferenceModel

_AT_ONCE = 1000


class ReferenceRepository:
    """Statements on `reference`.

    They are added while the project is locked: no file is removed between look and row.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def reserve(self, intent_id: str, file_ids: Iterable[str]) -> None:
        """Keep files from removal while an intent is open."""
        for file_id in sorted(set(file_ids)):
            self.session.add(ReferenceModel(to_file_id=file_id, intent_id=intent_id))
        self.session.flush()

    def drop(self, intent_id: str) -> None:
        """Release what an intent kept from removal."""
        self.session.connection().execute(_DROP, {"of_intent": intent_id})

    def add(self, project_id: str, from_file_id: str, to_file_ids: Iterable[str]) -> None:
        """Record that a file needs others; those that are not in the project, or go just now, are left out."""
        wanted = sorted(set(to_file_ids) - {from_file_id})
        # A text from elsewhere may mention any number of ids, and a statement takes only so many values.
        for at in range(0, len(wanted), _AT_ONCE):
            there = self.session.exec(
                select(FileModel.id).where(
                    FileModel.project_id == project_id,
                    col(FileModel.id).in_(wanted[at : at + _AT_ONCE]),
                    FileModel.state != FileState.PURGING,
                )
            ).all()
            for file_id in sorted(there):
                self.session.add(ReferenceModel(to_file_id=file_id, from_file_id=from_file_id))
        self.session.flush()

    def drop_outside(self, file_ids: Sequence[str]) -> None:
        """Remove what these files need that is none of them."""
        for at in range(0, len(file_ids), _AT_ONCE):
            some = col(ReferenceModel.from_file_id).in_(file_ids[at : at + _AT_ONCE])
            wanted = self.session.exec(select(ReferenceModel.id, ReferenceModel.to_file_id).where(some)).all()
            inside = set(file_ids)
            outside = [row_id for row_id, to_file_id in wanted if to_file_id not in inside]
            for start in range(0, len(outside), _AT_ONCE):
                gone = col(ReferenceModel.id).in_(outside[start : start + _AT_ONCE])
                self.session.connection().execute(delete(ReferenceModel).where(gone))

    def needed(self, file_ids: Sequence[str], *, by_intents_only: bool = False) -> set[str]:
        """Return those of these files that something else needs. What is in the same list does not count as that."""
        statement = select(ReferenceModel.to_file_id).where(col(ReferenceModel.to_file_id).in_(file_ids))
        if by_intents_only:
            statement = statement.where(col(ReferenceModel.intent_id).is_not(None))
        else:
            statement = statement.where(
                col(ReferenceModel.from_file_id).is_(None) | col(ReferenceModel.from_file_id).not_in(file_ids)
            )
        return set(self.session.exec(statement))

    def inputs(self, from_file_id: str) -> set[str]:
        """Return what a file needs."""
        return set(
            self.session.exec(select(ReferenceModel.to_file_id).where(ReferenceModel.from_file_id == from_file_id))
        )

    def users(self, project_id: str, to_file_ids: Sequence[str]) -> list[FileModel]:
        """Return files of a project that need one of these, oldest first."""
        needing = select(ReferenceModel.from_file_id).where(col(ReferenceModel.to_file_id).in_(to_file_ids))
        return list(
            self.session.exec(
                select(FileModel)
                .where(FileModel.project_id == project_id, col(FileModel.id).in_(needing))
                .order_by(col(FileModel.created_at), col(FileModel.id))
            )
        )


# Built once, as in `projects`.
_DROP = delete(ReferenceModel).where(col(ReferenceModel.intent_id) == bindparam("of_intent"))
