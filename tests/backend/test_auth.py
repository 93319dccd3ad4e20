# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens: what they hold, when they are worth something, and what the database knows of them."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from noslop_backend.core.database import clock
from noslop_backend.core.enums import TokenScope
from noslop_backend.core.errors import ConflictError, InvalidRequestError, NotFoundError
from noslop_backend.models import TokenModel
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services.tokens import ANYBODY, USED_STEP, Caller, ForbiddenError, Tokens, UnauthenticatedError
from sqlalchemy import update

from tests.backend.studio import Studio


@pytest.fixture
def tokens(studio: Studio) -> Tokens:
    return Tokens(studio.storage.database)


def _row(tokens: Tokens, name: str) -> TokenModel:
    return next(row for row in tokens.all() if row.name == name)


def _move(tokens: Tokens, column: str, by: timedelta) -> None:
    """Set a time of all tokens, from now."""
    with tokens.database.write() as session:
        session.connection().execute(update(TokenModel).values({column: clock(session) + by}))


def test_a_token_says_who_presents_it(tokens: Tokens) -> None:
    made = tokens.create("a worker", TokenScope.WRITE, None)
    caller = tokens.check(made.text)
    assert (caller.token_id, caller.scope) == (made.row.id, TokenScope.WRITE)


def test_tokens_have_256_random_bits_and_none_is_kept(tokens: Tokens) -> None:
    texts = {tokens.create(f"token {number}", TokenScope.READ, None).text for number in range(20)}
    secrets = {text.rsplit("_", 1)[1] for text in texts}
    assert len(secrets) == 20
    # 52 characters of 5 bits hold 32 bytes.
    assert {len(secret) for secret in secrets} == {52}
    kept = " ".join(row.model_dump_json() for row in tokens.all())
    for secret in secrets:
        assert secret not in kept
        assert hashlib.sha256(secret.encode()).hexdigest() in kept


@pytest.mark.parametrize(
    "text",
    [
        *("", "noslop_", "noslop_0000000000000_" + "0" * 52, "x" * 10_000, "noslop_ü_ß", "\0", "noslop_%00_%00"),
        "noslop_0000000000000_" + "0" * 51,
        "noslop_0000000000000_" + "0" * 52 + "\n",
        " noslop_0000000000000_" + "0" * 52,
    ],
)
def test_what_is_no_token_is_refused(tokens: Tokens, text: str) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens.check(text)


def test_a_token_with_another_secret_or_another_id_is_refused(tokens: Tokens) -> None:
    one, other = (tokens.create(name, TokenScope.ADMIN, None).text for name in ("one", "other"))
    (_, one_id, one_secret), (_, other_id, other_secret) = one.split("_"), other.split("_")
    changed = ("1" if one_secret[-1] == "0" else "0").join((one_secret[:-1], ""))
    for text in (f"noslop_{one_id}_{other_secret}", f"noslop_{other_id}_{one_secret}", f"noslop_{one_id}_{changed}"):
        with pytest.raises(UnauthenticatedError, match="not known"):
            tokens.check(text)


def test_a_token_expires_by_the_clock_of_the_database(tokens: Tokens) -> None:
    made = tokens.create("short", TokenScope.READ, timedelta(days=1))
    tokens.check(made.text)
    _move(tokens, "expires_at", timedelta(0))
    with pytest.raises(UnauthenticatedError, match=r"'short' expired at 20"):
        tokens.check(made.text)


def test_a_revoked_token_is_worthless_at_once_and_for_ever(tokens: Tokens) -> None:
    by_name, by_id = (tokens.create(name, TokenScope.READ, None) for name in ("by name", "by id"))
    tokens.revoke("by name")
    first = _row(tokens, "by name").revoked_at
    tokens.revoke("by name")
    assert _row(tokens, "by name").revoked_at == first
    tokens.revoke(by_id.row.id)
    for made in (by_name, by_id):
        with pytest.raises(UnauthenticatedError, match="revoked"):
            tokens.check(made.text)
    with pytest.raises(NotFoundError):
        tokens.revoke("nobody")


def test_names_are_unique_and_usable(tokens: Tokens) -> None:
    tokens.create("a worker", TokenScope.READ, None)
    tokens.revoke("a worker")
    with pytest.raises(ConflictError, match="another name"):
        tokens.create("a worker", TokenScope.READ, None)
    for name in ("", " ", "x" * 201, "a\0b", "a\nb", "\ud800"):
        with pytest.raises(InvalidRequestError):
            tokens.create(name, TokenScope.READ, None)
    for days in (0, -1, 10**7):
        with pytest.raises(InvalidRequestError):
            tokens.create("other", TokenScope.READ, timedelta(days=days))


def test_a_token_is_for_the_projects_that_it_names_by_id_or_name(tokens: Tokens, studio: Studio) -> None:
    film, other = (studio.storage.create_project_structure(ProjectCreate(name=name)).id for name in ("Film", "Other"))
    made = tokens.create("both", TokenScope.WRITE, None, ["Film", other, film])
    caller = tokens.check(made.text)
    assert caller.projects == frozenset({film, other})
    caller.require_project(film)
    for elsewhere in ("film-00000000", "", "Film"):
        with pytest.raises(NotFoundError, match="There is no project"):
            caller.require_project(elsewhere)
    with pytest.raises(ForbiddenError, match="whole store"):
        caller.require_store()
    everywhere = tokens.check(tokens.create("all", TokenScope.WRITE, None).text)
    everywhere.require_project(film)
    everywhere.require_store()


def test_a_token_for_a_project_that_is_not_clear_is_refused(tokens: Tokens, studio: Studio) -> None:
    twins = [studio.storage.create_project_structure(ProjectCreate(name="Twin")).id for _ in range(2)]
    with pytest.raises(ConflictError, match=f"{min(twins)}, {max(twins)}. Name one by its id"):
        tokens.create("t", TokenScope.READ, None, ["Twin"])
    for name in ("nothing", "none-00000000"):
        with pytest.raises(NotFoundError, match="There is no project"):
            tokens.create("t", TokenScope.READ, None, [name])
    with pytest.raises(InvalidRequestError, match="for no project"):
        tokens.create("t", TokenScope.READ, None, [])
    assert tokens.all() == []


def test_use_is_written_down_once_a_minute(tokens: Tokens) -> None:
    made = tokens.create("used", TokenScope.READ, None)
    caller = tokens.check(made.text)
    assert caller.note_use
    tokens.note_use(made.row.id)
    noted = _row(tokens, "used").last_used_at
    assert noted is not None
    assert not tokens.check(made.text).note_use
    # Who noted it at the same moment changes nothing.
    tokens.note_use(made.row.id)
    assert _row(tokens, "used").last_used_at == noted
    _move(tokens, "last_used_at", -USED_STEP)
    assert tokens.check(made.text).note_use
    tokens.note_use(made.row.id)
    assert (_row(tokens, "used").last_used_at or noted) > noted


def test_each_scope_allows_what_the_former_does() -> None:
    allowed = {scope: [other for other in TokenScope if Caller("x", scope).allows(other)] for scope in TokenScope}
    assert allowed == {
        TokenScope.READ: [TokenScope.READ],
        TokenScope.WRITE: [TokenScope.READ, TokenScope.WRITE],
        TokenScope.ADMIN: list(TokenScope),
    }
    ANYBODY.require(TokenScope.ADMIN)
    with pytest.raises(ForbiddenError, match="scope admin, and yours has write"):
        Caller("x", TokenScope.WRITE).require(TokenScope.ADMIN)
