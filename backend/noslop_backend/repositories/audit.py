# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: rows are added, read and forgotten, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, or_
from sqlmodel import Session, col, select

from noslop_backend.models import AuditModel


class AuditRepository:
    """Statements on `audit`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, row: Mapping[str, Any]) -> None:
        """Insert a row."""
        self.session.connection().execute(_INSERT, row)

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

    def forget(self, before: datetime, limit: int = 10_000) -> int:
        """Remove rows that are older than a moment, so many at most."""
        old = select(AuditModel.id).where(col(AuditModel.at) < before).limit(limit)
        return self.session.exec(delete(AuditModel).where(col(AuditModel.id).in_(old))).rowcount


# Built once, as in `projects`. Inline: the new row's id is not needed.
_INSERT = insert(AuditModel).inline()
