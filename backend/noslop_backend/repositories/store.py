# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and change the one row about the whole store."""

from __future__ import annotations

from sqlalchemy import bindparam, func, or_, update
from sqlmodel import Session, col, select

from noslop_backend.core.errors import QuotaExceededError
from noslop_backend.models import ProjectModel, StoreModel


class StoreRepository:
    """Statements on `store`. Its row is the last that a transaction locks."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def get(self) -> StoreModel:
        """Return the row, made at the first call."""
        row = self.session.exec(select(StoreModel)).first()
        if row is None:
            row = StoreModel()
            self.session.add(row)
            self.session.flush()
        return row

    def peek(self) -> StoreModel:
        """Return the row as it is, or an empty one that is not stored."""
        return self.session.exec(select(StoreModel)).first() or StoreModel()

    def share_id(self) -> str | None:
        """Return which share the database belongs to; None before the first start."""
        return self.session.exec(select(StoreModel.share_id)).first()

    def record_share(self, studio_id: str, share_id: str) -> str:
        """Record the share unless one is recorded. Return the one that is."""
        self.get()
        self.session.exec(
            update(StoreModel).where(col(StoreModel.share_id).is_(None)).values(studio_id=studio_id, share_id=share_id)
        )
        recorded = self.session.exec(select(StoreModel.share_id)).one()
        assert recorded is not None
        return recorded

    def set_quota(self, quota_bytes: int | None) -> None:
        """Limit the store; what is there stays."""
        self.get()
        self.session.exec(update(StoreModel).values(quota_bytes=quota_bytes))

    def reserve(self, size_bytes: int, own_bytes: int = 0) -> None:
        """Set bytes aside.

        Args:
            size_bytes: how many more.
            own_bytes: what the same write has reserved before: part of what it asks for, and not of what is used.

        Raises:
            QuotaExceededError: there is no room for them.
        """
        if not size_bytes:
            return
        if self.session.connection().execute(_RESERVE, {"more_bytes": size_bytes}).rowcount:
            return
        store = self.session.exec(select(StoreModel).execution_options(populate_existing=True)).one()
        taken, size_bytes = store.used_bytes + store.reserved_bytes - own_bytes, size_bytes + own_bytes
        free = max(0, (store.quota_bytes or 0) - taken)
        raise QuotaExceededError(
            f"All projects together have no room for {size_bytes} bytes: {taken} are used or reserved and {free} are "
            "free of "
            f"{store.quota_bytes}. Purge trash, clean up intermediates, or raise the store's quota.",
            scope="store",
            used_bytes=taken,
            asked_bytes=size_bytes,
            free_bytes=free,
        )

    def apply_delta(self, used_bytes: int, reserved_bytes: int) -> None:
        """Change what is used and what is reserved by so many bytes."""
        if used_bytes or reserved_bytes:
            self.session.connection().execute(_APPLY, {"more_used": used_bytes, "more_reserved": reserved_bytes})

    def update_storage_stats(self) -> list[str]:
        """Compute the store's counters anew from those of the projects. Return what had drifted, a line each."""
        self.get()
        # What changes a project's counters changes this row in the same transaction: while it is locked, sums stand
        # still.
        store = self.session.exec(select(StoreModel).with_for_update().execution_options(populate_existing=True)).one()
        used, reserved = self.session.exec(
            select(
                func.coalesce(func.sum(col(ProjectModel.used_bytes)), 0),
                func.coalesce(func.sum(col(ProjectModel.reserved_bytes)), 0),
            )
        ).one()
        drift = []
        for name, value in (("used_bytes", int(used)), ("reserved_bytes", int(reserved))):
            if getattr(store, name) != value:
                drift.append(f"store {name}: {getattr(store, name)} -> {value}")
                setattr(store, name, value)
        self.session.add(store)
        self.session.flush()
        return drift


# Built once, as in `projects`.
_RESERVE = (
    update(StoreModel)
    .where(
        or_(
            col(StoreModel.quota_bytes).is_(None),
            col(StoreModel.used_bytes) + col(StoreModel.reserved_bytes) + bindparam("more_bytes")
            <= col(StoreModel.quota_bytes),
        )
    )
    .values(reserved_bytes=col(StoreModel.reserved_bytes) + bindparam("more_bytes"))
)
_APPLY = update(StoreModel).values(
    used_bytes=col(StoreModel.used_bytes) + bindparam("more_used"),
    reserved_bytes=col(StoreModel.reserved_bytes) + bindparam("more_reserved"),
)
