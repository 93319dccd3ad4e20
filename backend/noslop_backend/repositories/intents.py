# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write intents: what is being done, until when only its owner may, and what came of it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Update, and_, bindparam, delete, exists, insert, or_, update
from sqlmodel import Session, col, select

from noslop_backend.core.enums import IntentOp, IntentState
from noslop_backend.models import FileModel, IntentModel


class IntentRepository:
    """Statements on `intent`. Every change of an open one compares its owner: a lease that was lost is lost."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, intent: IntentModel) -> None:
        """Insert an intent, which is not the session's after that.

        Raises:
            IntegrityError: its key came in meanwhile.
        """
        values = {name: getattr(intent, name) for name in IntentModel.model_fields}
        self.session.connection().execute(_INSERT, values)

    def remove(self, intent_id: str) -> None:
        """Remove an intent that there was nothing to do for."""
        self.session.connection().execute(_REMOVE, {"of_id": intent_id})

    def get(self, intent_id: str) -> IntentModel | None:
        """Return an intent as it is now."""
        return self.session.exec(_GET, params={"of_id": intent_id}).first()

    def with_key(self, scope: str, key: str) -> IntentModel | None:
        """Return the intent that a key stands for."""
        return self.session.exec(select(IntentModel).where(IntentModel.scope == scope, IntentModel.key == key)).first()

    def update(self, intent_id: str, owner: str, /, **values: Any) -> bool:  # noqa: ANN401 - columns of the table
        """Change an open intent, if it still is the owner's."""
        done = self.session.connection().execute(
            _changing(*values),
            {"of_id": intent_id, "of_owner": owner, **{f"to_{name}": values[name] for name in values}},
        )
        return bool(done.rowcount)

    def answer(self, intent_id: str, result: dict[str, Any]) -> None:
        """Keep what an intent led to, for its key, and remove its plan: it may be large, and is not read again."""
        self.session.connection().execute(_ANSWER, {"of_id": intent_id, "to_result": result})

    def claim(self, intent_id: str, owner: str, now: datetime, until: datetime) -> bool:
        """Make this the owner of an open intent, if its lease has run out."""
        done = self.session.exec(
            update(IntentModel)
            .where(
                col(IntentModel.id) == intent_id,
                col(IntentModel.state) == IntentState.OPEN,
                col(IntentModel.lease_expires_at) <= now,
            )
            .values(owner=owner, lease_expires_at=until)
            .execution_options(synchronize_session=False)
        )
        return bool(done.rowcount)

    def expired(self, now: datetime, project_id: str | None, limit: int) -> list[str]:
        """Return the ids of open intents whose lease has run out."""
        statement = select(IntentModel.id).where(
            IntentModel.state == IntentState.OPEN, col(IntentModel.lease_expires_at) <= now
        )
        if project_id is not None:
            statement = statement.where(IntentModel.project_id == project_id)
        return list(self.session.exec(statement.order_by(col(IntentModel.lease_expires_at)).limit(limit)))

    def running(self, now: datetime) -> list[IntentModel]:
        """Return the open intents whose lease has not run out."""
        return list(
            self.session.exec(
                select(IntentModel).where(
                    IntentModel.state == IntentState.OPEN, col(IntentModel.lease_expires_at) > now
                )
            )
        )

    def shorten(self, observed: IntentModel, until: datetime, plan: dict[str, Any]) -> bool:
        """Let a lease end earlier than it says, if no process has changed it since it was read."""
        done = self.session.exec(
            update(IntentModel)
            .where(
                col(IntentModel.id) == observed.id,
                col(IntentModel.owner) == observed.owner,
                col(IntentModel.state) == IntentState.OPEN,
                col(IntentModel.lease_expires_at) == observed.lease_expires_at,
            )
            .values(lease_expires_at=until, plan=plan)
            .execution_options(synchronize_session=False)
        )
        return bool(done.rowcount)

    def open_in(self, project_id: str) -> list[IntentModel]:
        """Return the open intents of a project, and those of others that move files out of it."""
        moves = exists().where(col(FileModel.intent_id) == IntentModel.id, col(FileModel.project_id) == project_id)
        return list(
            self.session.exec(
                select(IntentModel).where(
                    IntentModel.state == IntentState.OPEN,
                    or_(
                        col(IntentModel.project_id) == project_id,
                        and_(col(IntentModel.op) == IntentOp.TRANSFER, moves),
                    ),
                )
            )
        )

    def open_among(self, intent_ids: set[str]) -> set[str]:
        """Return those of these intents that are open."""
        opened = self.session.exec(
            select(IntentModel.id).where(col(IntentModel.id).in_(intent_ids), IntentModel.state == IntentState.OPEN)
        )
        return set(opened)

    def forget(self, before: datetime, limit: int = 10_000) -> int:
        """Remove intents that ended before a moment, and with them the answers to their keys."""
        old = (
            select(IntentModel.id)
            .where(IntentModel.state != IntentState.OPEN, col(IntentModel.finished_at) < before)
            .limit(limit)
        )
        return self.session.exec(delete(IntentModel).where(col(IntentModel.id).in_(old))).rowcount


# Built once, as in `projects`.
_HERE = col(IntentModel.id) == bindparam("of_id")
_INSERT = insert(IntentModel)
_REMOVE = delete(IntentModel).where(_HERE)
_GET = select(IntentModel).where(_HERE).execution_options(populate_existing=True)
_ANSWER = update(IntentModel).where(_HERE).values(result=bindparam("to_result"), plan={})


@lru_cache
def _changing(*names: str) -> Update:
    """Return the statement that changes these columns of an open intent of an owner."""
    return (
        update(IntentModel)
        .where(
            _HERE,
            col(IntentModel.owner) == bindparam("of_owner"),
            col(IntentModel.state) == IntentState.OPEN,
        )
        .values({name: bindparam(f"to_{name}") for name in names})
    )
