# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write tokens of the API: their rows hold hashes, never secrets."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import bindparam, or_, update
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select

from noslop_backend.models import TokenModel


class TokenRow(NamedTuple):
    """As much of a token's row as a request is checked by."""

    id: str
    name: str
    secret_hash: str
    scope: str
    projects: Any
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokenRepository:
    """Statements on `token`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, token: TokenModel) -> None:
        """Insert a token.

        Raises:
            IntegrityError: there is one of this name.
        """
        self.session.add(token)
        self.session.flush()

    def get(self, token_id: str) -> TokenModel | None:
        """Return the token of this id."""
        return self.session.get(TokenModel, token_id)

    def rights(self, token_id: str) -> TokenRow | None:
        """Return what a request with the token of this id is checked by: columns only, for every request asks."""
        found = self.session.connection().execute(_RIGHTS, {"of_id": token_id}).first()
        return None if found is None else TokenRow(*found)

    def named(self, name: str) -> TokenModel | None:
        """Return the token of this name."""
        return self.session.exec(select(TokenModel).where(TokenModel.name == name)).first()

    def all(self) -> list[TokenModel]:
        """Return all tokens, oldest first."""
        return list(self.session.exec(select(TokenModel).order_by(col(TokenModel.created_at), col(TokenModel.id))))

    def used(self, token_id: str, moment: datetime, at_most_every: timedelta) -> None:
        """Remember that a token was used, unless that was remembered a short time ago."""
        before = moment - at_most_every
        self.session.exec(
            update(TokenModel)
            .where(
                col(TokenModel.id) == token_id,
                or_(
                    col(TokenModel.last_used_at).is_(None),
                    col(TokenModel.last_used_at) <= before,
                    # Noted before the clock went back.
                    col(TokenModel.last_used_at) > moment,
                ),
            )
            .values(last_used_at=moment)
        )


# Built once, as in `projects`.
_RIGHTS = sql_select(*(getattr(TokenModel, name) for name in TokenRow._fields)).where(
    col(TokenModel.id) == bindparam("of_id")
)
