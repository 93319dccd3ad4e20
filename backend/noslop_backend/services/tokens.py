# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, check and revoke tokens: made by the command line, shown once, kept as hashes.

A token is `noslop_<id>_<secret>`. The id finds the row; the secret has 256 random bits, so that a plain SHA-256 is as
hard to turn back as the secret is to guess, and the comparison takes the same time wherever they differ.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from noslop_backend.core.database import Database, clock
from noslop_backend.core.enums import TokenScope
from noslop_backend.core.errors import BackendError, ConflictError, InvalidRequestError, NotFoundError
from noslop_backend.journal import audit
from noslop_backend.models import TokenModel
from noslop_backend.repositories import ProjectRepository
from noslop_backend.repositories.projects import missing
from noslop_backend.repositories.tokens import TokenRepository, TokenRow
from noslop_backend.share import layout

SECRET_BYTES = 32
#: Names under which other services take tokens in a URL (RFC 6750, 2.3, and habit).
_QUERY_NAMES = frozenset({"access_token", "api_key", "token"})
_TOKEN = re.compile(r"noslop_([0-9a-hjkmnp-tv-z]{13})_([0-9a-hjkmnp-tv-z]{52})", re.ASCII)
#: Each scope allows what stands before it.
_ORDER = tuple(TokenScope)
#: `last_used_at` is for people who wonder which tokens are still needed: a minute is exact enough, and spares a write.
USED_STEP = timedelta(minutes=1)


class UnauthenticatedError(BackendError):
    """No token, or none that is valid now."""

    code = "unauthenticated"

    def __init__(self, message: str, reason: str = "no_token", token: TokenRow | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        #: The token, where its secret was right.
        self.token = token


class ForbiddenError(BackendError):
    """The token is valid, but its scope does not allow this."""

    code = "forbidden"


@dataclass(frozen=True)
class Caller:
    """Who asks, and what it may do. `token_id` is None where no tokens are asked for (`--no-auth`)."""

    token_id: str | None
    scope: TokenScope
    name: str = ""
    #: Whether it is time to write down that the token is used.
    note_use: bool = False
    #: Ids of the only projects that it may reach; None: all of them, and what concerns the whole store.
    projects: frozenset[str] | None = None

    def allows(self, scope: TokenScope) -> bool:
        """Return whether this caller may do what needs `scope`."""
        return _ORDER.index(self.scope) >= _ORDER.index(scope)

    def require(self, scope: TokenScope) -> None:
        """Let pass who may do what needs `scope`.

        Raises:
            ForbiddenError: who may not.
        """
        if not self.allows(scope):
            raise ForbiddenError(
                f"This needs a token of the scope {scope}, and yours has {self.scope}. Ask who runs the studio for "
                f"another (noslop-backend token create --scope {scope} NAME).",
                needed=str(scope),
            )

    def require_project(self, project_id: str) -> None:
        """Reject a project that this caller may not reach, in the words for one that does not exist.

        Raises:
            NotFoundError: it is another one.
        """
        if self.projects is not None and project_id not in self.projects:
            raise missing(project_id)

    def require_store(self) -> None:
        """Reject a caller whose token is for single projects.

        Raises:
            ForbiddenError: it is.
        """
        if self.projects is not None:
            raise ForbiddenError(
                "This concerns the whole store, and your token is for single projects only. Ask who runs the studio "
                "for one without --project (noslop-backend token create NAME)."
            )


#: Everybody, where the service listens on loopback only and asks for no tokens.
ANYBODY = Caller(None, TokenScope.ADMIN)


@dataclass(frozen=True)
class NewToken:
    """A token that was just made. `text` is nowhere else, and cannot be shown again."""

    row: TokenModel
    text: str


class Tokens:
    """Makes, checks and revokes tokens."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(
        self, name: str, scope: TokenScope, lifetime: timedelta | None, projects: Sequence[str] | None = None
    ) -> NewToken:
        """Make a token.

        Args:
            name: whom or what it is for; unique.
            scope: what it allows.
            lifetime: until it expires by itself; None: never.
            projects: ids or names of the only projects that it is for; None: all of them, and the whole store.

        Raises:
            InvalidRequestError: no usable name, no lifetime to speak of, or an empty list of projects.
            NotFoundError: there is no such project.
            ConflictError: there is a token of this name, valid or not, or several projects have one of the names.
        """
        if problem := layout.title_problem(name):
            raise InvalidRequestError(f"The token needs another name: {problem}.")
        if lifetime is not None and lifetime <= timedelta(0):
            raise InvalidRequestError("A token that has expired when it is made helps nobody. Give it some days.")
        if projects is not None and not projects:
            raise InvalidRequestError("A token for no project helps nobody. Name one, or leave the list out.")
        token_id = layout.encode_id(secrets.token_bytes(layout.FILE_ID_BYTES))
        secret = layout.encode_id(secrets.token_bytes(SECRET_BYTES))
        try:
            with self.database.write() as session:
                now = clock(session)
                row = TokenModel(
                    id=token_id,
                    name=name,
                    secret_hash=_hash(secret),
                    scope=scope,
                    projects=None if projects is None else sorted({_project_id(session, each) for each in projects}),
                    created_at=now,
                    expires_at=_after(now, lifetime),
                )
                TokenRepository(session).add(row)
                details = {"token": token_id, "name": name, "scope": scope, "projects": row.projects}
                audit.record(session, now, "create_token", details=details)
        except IntegrityError as error:
            raise ConflictError(f"There is a token named {name!r} already. Take another name.") from error
        return NewToken(row, f"noslop_{token_id}_{secret}")

    def all(self) -> list[TokenModel]:
        """Return all tokens, oldest first; revoked and expired ones too."""
        with self.database.read() as session:
            rows = TokenRepository(session).all()
            session.expunge_all()
        return rows

    def revoke(self, name: str) -> TokenModel:
        """Make a token of this name or id worthless, from now on. Revoking again changes nothing.

        Raises:
            NotFoundError: there is none.
        """
        with self.database.write() as session:
            tokens = TokenRepository(session)
            row = tokens.named(name) or tokens.get(name)
            if row is None:
                raise NotFoundError(f"There is no token {name!r}. 'noslop-backend token list' shows which there are.")
            if row.revoked_at is None:
                row.revoked_at = clock(session)
                session.add(row)
                session.flush()
                audit.record(session, row.revoked_at, "revoke_token", details={"token": row.id, "name": row.name})
        return row

    def check(self, text: str) -> Caller:
        """Return the caller who presents this token.

        Raises:
            UnauthenticatedError: it is none of ours, was revoked, or has expired.
        """
        parts = _TOKEN.fullmatch(text)
        if parts is None:
            raise UnauthenticatedError(
                "What was sent is no token of this service. A token begins with noslop_ and was shown once, by "
                "'noslop-backend token create'.",
                "unknown_token",
            )
        with self.database.read() as session:
            row = TokenRepository(session).rights(parts[1])
            expected = row.secret_hash if row else "0" * 64
            same = hmac.compare_digest(_hash(parts[2]), expected)
            if row is None or not same:
                message = "This token is not known here. Ask who runs the studio for one."
                raise UnauthenticatedError(message, "unknown_token")
            return _valid(session, row)

    def check_again(self, token_id: str) -> Caller:
        """Return the caller whose token was right a while ago, with what it may do now.

        Raises:
            UnauthenticatedError: it was revoked or removed since, or has expired.
        """
        with self.database.read() as session:
            row = TokenRepository(session).rights(token_id)
            if row is None:
                raise UnauthenticatedError("This token is gone. Ask who runs the studio for another.", "unknown_token")
            return _valid(session, row)

    def note_use(self, token_id: str) -> None:
        """Write down that a token is used, at most once a minute."""
        with self.database.write() as session:
            TokenRepository(session).used(token_id, clock(session), USED_STEP)


def require_no_token(query: Iterable[tuple[str, str]]) -> None:
    """Reject a request with a token in its URL, also beside one in its header: URLs end up in logs and histories.

    Raises:
        InvalidRequestError: it has one.
    """
    for name, value in query:
        if name.lower() in _QUERY_NAMES or _TOKEN.search(value):
            raise InvalidRequestError(
                "A token belongs into the header 'Authorization: Bearer TOKEN' and never into a URL, which proxies, "
                "browsers and logs keep. Revoke this one (noslop-backend token revoke NAME) and make another."
            )


def _valid(session: Session, row: TokenRow) -> Caller:
    if row.revoked_at is not None:
        message = f"The token {row.name!r} was revoked. Ask who runs the studio for another."
        raise UnauthenticatedError(message, "revoked", row)
    now = clock(session)
    if row.expires_at is not None and row.expires_at <= now:
        raise UnauthenticatedError(
            f"The token {row.name!r} expired at {row.expires_at.isoformat(timespec='seconds')}. Ask who runs the "
            "studio for another.",
            "expired",
            row,
        )
    # A use that lies ahead was noted before the clock went back.
    note = row.last_used_at is None or not timedelta(0) <= now - row.last_used_at < USED_STEP
    projects = None if row.projects is None else frozenset(row.projects)
    return Caller(row.id, TokenScope(row.scope), row.name, note, projects)


def _project_id(session: Session, named: str) -> str:
    """Return the id of the project that has this id or, if none has, this name."""
    projects = ProjectRepository(session)
    if layout.is_project_id(named):
        return projects.get(named).id
    ids = projects.named(named)
    if len(ids) > 1:
        raise ConflictError(f"{len(ids)} projects are named {named!r}: {', '.join(ids)}. Name one by its id.")
    if not ids:
        raise NotFoundError(
            f"There is no project {named!r}. 'noslop-backend project list' shows which there are, with their ids."
        )
    return ids[0]


def _after(now: datetime, lifetime: timedelta | None) -> datetime | None:
    if lifetime is None:
        return None
    try:
        return now + lifetime
    except OverflowError as error:
        raise InvalidRequestError("That is further away than a calendar reaches. Leave the expiry out.") from error


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
