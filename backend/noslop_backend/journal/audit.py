# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: who changed what, when and from where, written in the transaction of the change.

Owns: the actor of a request or a command, and the rows of `audit`. Never: secrets, contents, texts of unknown clients.
"""

from __future__ import annotations

import logging
import os
import pwd
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlmodel import Session

from noslop_backend.core.database import Database, clock
from noslop_backend.core.errors import BackendError
from noslop_backend.models.plans import Plan, PlannedActor
from noslop_backend.repositories.audit import AuditRepository

_LOG = logging.getLogger(__name__)
#: So many paths or ids of one change are listed; the count is always whole.
LISTED = 100
#: What /proc/self/loginuid holds when no user logged in (proc(5), audit_setloginuid(3)).
_NO_LOGIN = 2**32 - 1
_NAME_LENGTH = 200


class ActorKind(StrEnum):
    """Kinds of actors, by what vouches for them."""

    TOKEN = "token"  # noqa: S105 - a kind, no password
    USER = "user"
    #: No token is asked for (`--no-auth`), or no valid one came.
    ANYBODY = "anybody"


@dataclass(frozen=True)
class Actor:
    """Who does something, and from where.

    `id` is a token's, `name` a token's or a login's. `origin` is an address, or the command that a user ran.
    """

    kind: ActorKind
    id: str | None
    name: str
    origin: str


def user(command: str) -> Actor:
    """Return the person who runs a command, by the login and not by the account that the process became."""
    return Actor(ActorKind.USER, None, _login(), command)


def _login() -> str:
    try:
        uid = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        uid = _NO_LOGIN
    if uid == _NO_LOGIN:
        name = os.environ.get("SUDO_USER", "")
        if name and name.isprintable():
            return name[:_NAME_LENGTH]
        uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


_ACTOR: ContextVar[Actor | None] = ContextVar("noslop_actor", default=None)


def current() -> Actor:
    """Return who this thread or task works for."""
    return _ACTOR.get() or user("python")


def act_as(actor: Actor) -> None:
    """Work for this actor from now on, until the task or the surrounding `acting` ends."""
    _ACTOR.set(actor)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Work for this actor within a block."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def planned(actor: Actor) -> PlannedActor:
    """Return an actor for the plan of an intent: the author is in the log, whichever process finishes it."""
    return PlannedActor(**asdict(actor))


def actor_of(plan: Plan) -> Actor:
    """Return the author of an intent by its plan; commit 8ae3555 wrote none."""
    if plan.actor is None:
        return Actor(ActorKind.ANYBODY, None, "", "unknown")
    return Actor(ActorKind(plan.actor.kind), plan.actor.id, plan.actor.name, plan.actor.origin)


def objects(names: Sequence[str]) -> dict[str, Any]:
    """Return the details of a change of these paths or ids."""
    return {"objects": list(names[:LISTED]), "objects_count": len(names)}


def record(
    session: Session,
    now: datetime,
    operation: str,
    *,
    actor: Actor | None = None,
    project_id: str | None = None,
    outcome: str = "done",
    details: dict[str, Any] | None = None,
) -> None:
    """Write a row, in the transaction of the change that it tells about."""
    by = actor or current()
    AuditRepository(session).add(
        {
            "at": now,
            "actor_kind": by.kind,
            "actor_id": by.id,
            "actor_name": by.name,
            "origin": by.origin,
            "operation": operation,
            "project_id": project_id,
            "outcome": outcome,
            "details": details or {},
        }
    )


class Refusals:
    """Counts requests that were refused for want of a right, so that a flood of them does not fill the disk.

    In each window the first refusal of an actor is written at once, and at the window's end how many more came. Beyond
    `actors` of them in a window all others count as one: at most 2 * (actors + 1) rows in a window.
    """

    def __init__(self, database: Database, *, window_s: float = 600.0, actors: int = 16) -> None:
        self.database = database
        self.window_s = window_s
        self.actors = actors
        self._counts: Counter[tuple[Actor, str]] = Counter()
        self._ends_at_s = 0.0
        self._lock = threading.Lock()

    def note(self, actor: Actor, reason: str, operation_id: str) -> None:
        """Count a refusal; blocks while a row is written. A database that does not answer costs the row, no more."""
        rows: list[tuple[Actor, dict[str, Any]]] = []
        with self._lock:
            now_s = time.monotonic()
            if now_s >= self._ends_at_s:
                rows = self._sums()
                self._ends_at_s = now_s + self.window_s
            key = (actor, reason)
            if key not in self._counts and len(self._counts) >= self.actors:
                key = (Actor(ActorKind.ANYBODY, None, "", "several"), "several")
            self._counts[key] += 1
            if self._counts[key] == 1:
                rows.append((key[0], {"reason": key[1], "request": operation_id, "count": 1}))
        self._write(rows)

    def close(self) -> None:
        """Write the sums of the window that has not ended."""
        with self._lock:
            rows = self._sums()
        self._write(rows)

    def _sums(self) -> list[tuple[Actor, dict[str, Any]]]:
        sums = [
            (actor, {"reason": reason, "count": count - 1})
            for (actor, reason), count in self._counts.items()
            if count > 1
        ]
        self._counts.clear()
        return sums

    def _write(self, rows: list[tuple[Actor, dict[str, Any]]]) -> None:
        if not rows:
            return
        try:
            with self.database.write() as session:
                now = clock(session)
                for actor, details in rows:
                    record(session, now, "authenticate", actor=actor, outcome="refused", details=details)
        except BackendError as error:
            _LOG.warning("%d refused requests are not in the audit log: %s", len(rows), error.message)
