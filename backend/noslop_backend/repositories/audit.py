# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: rows are added, read and forgotten, and never changed. Their numbers become visible in their order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, or_, text
from sqlmodel import Session, col, select

from noslop_backend.models import AuditModel

#: PostgreSQL's advisory lock of who adds a row: `events` in ASCII. A row gets its number under it, and it is held until
#: the transaction has ended, so that no row becomes visible behind one with a higher number, and who reads on from a
#: number misses none. It is the last lock of each transaction, taken after the store's row.
_LOCK = 0x6576656E7473


class AuditRepository:
    """Statements on `audit`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, row: Mapping[str, Any]) -> None:
        """Insert a row; the last that its transaction locks."""
        connection = self.session.connection()
        if connection.dialect.name != "sqlite":  # there one transaction writes at a time
            connection.execute(_ACQUIRE_LOCK)
        connection.execute(_INSERT, row)

    def latest(
        self, *, limit: int, project_id: str | None = None, made_by: str | None = None, since: datetime | None = None
    ) -> list[AuditModel]:
        """Return the newest rows, oldest first; `made_by` is the id or the name of one."""
        statement = select(AuditModel)
        if project_id is not None:
            statement = statement.where(AuditModel.project_id == project_id)
        if made_by is not None:
            named = or_(col(AuditModel.actor_id) == made_by, col(AuditModel.actor_name) == made_by)
            statement = statement.where(AuditModel.actor_kind == "token", named)
        if since is not None:
            statement = statement.where(AuditModel.at >= since)
        return list(self.session.exec(statement.order_by(col(AuditModel.id).desc()).limit(limit)))[::-1]

    def after(self, number: int, limit: int) -> list[AuditModel]:
        """Return the first so many rows whose number is higher than this one, by their numbers."""
        statement = select(AuditModel).where(col(AuditModel.id) > number).order_by(col(AuditModel.id)).limit(limit)
        return list(self.session.exec(statement))

    def bounds(self) -> tuple[int, int]:
        """Return the lowest and the highest number; 0 and 0 without rows."""
        lowest, highest = self.session.exec(select(func.min(AuditModel.id), func.max(AuditModel.id))).one()
        return lowest or 0, highest or 0

    def forget(self, before: datetime, limit: int = 10_000) -> int:
        """Remove rows that are older than a moment, so many at most. The last row stays: SQLite counts on from it."""
        last = select(func.max(AuditModel.id)).scalar_subquery()
        old = select(AuditModel.id).where(col(AuditModel.at) < before, col(AuditModel.id) != last).limit(limit)
        return self.session.exec(delete(AuditModel).where(col(AuditModel.id).in_(old))).rowcount


# Built once, as in `projects`. Inline: the new row's id is not needed.
_INSERT = insert(AuditModel).inline()
_ACQUIRE_LOCK = text(f"SELECT pg_advisory_xact_lock({_LOCK})")
