# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol of every change: an intent first, then the bytes, then one transaction that finishes everything.

An intent says what will be done and reserves what it costs. Its lease runs on the database's clock; while it lasts
nobody else touches the intent, afterwards anybody finishes or releases it (`recovery`). Every step of its owner
compares the owner, so who stalled and comes back learns what became of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import IntentOp, IntentState
from noslop_backend.core.errors import (
    BackendError,
    InProgressError,
    InvalidRequestError,
    KeyReusedError,
    LeaseLostError,
)
from noslop_backend.journal import audit
from noslop_backend.journal.catch_up import catch_up
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import AlreadyAnsweredError, FileLockedError, IntentHandle, IntentLostError, Request
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.repositories import (
    FileRepository,
    IntentRepository,
    ProjectRepository,
    ReferenceRepository,
    StoreRepository,
)
from noslop_backend.repositories.counters import Change

KEY_LIMIT = 255


#: Called within the first transaction, with the session, the intent (inserted) and the time; gives the plan.
Prepare = Callable[[Session, IntentModel, datetime], dict[str, Any]]
#: Called within the last transaction; gives the result.
Apply = Callable[[Session, datetime], dict[str, Any]]


class Intents(StorageContext):
    """Begins, renews, finishes and releases intents."""

    def recover_one(self, intent_id: str) -> IntentState | None:
        """Finish or release one intent whose lease has run out.

        None when somebody else was quicker, or it still runs.
        """
        raise NotImplementedError

    def begin(
        self,
        project_id: str,
        op: IntentOp,
        request: Request,
        prepare: Prepare,
        *,
        reserve_bytes: int = 0,
        lease_s: float | None = None,
        enter: Callable[[Session, datetime], None] | None = None,
        again: bool = False,
    ) -> IntentHandle:
        """Do the first transaction: look the key up, reserve, insert the intent, plan.

        Args:
            project_id: the project.
            op: what will be done.
            request: key and arguments.
            prepare: makes the plan; may raise `FileLockedError` or `AlreadyAnsweredError`.
            reserve_bytes: what is set aside in the project and the store.
            lease_s: other than `settings.lease_s`.
            enter: what to do instead of locking a present project and reserving.
            again: an open intent of the same key is the answer as long as its lease runs (with an empty `answer`).
        """
        scope = request.scope_in(project_id)
        if request.key is not None:
            _check_key(request.key)
        catch_up(self, project_id, new=op in {IntentOp.CREATE_PROJECT, IntentOp.IMPORT_PROJECT})
        # Each turn either gets on or finishes what was in the way; a handful means that somebody else is at it all the
        # time.
        for _ in range(20):
            in_the_way: str | None = None
            try:
                with self.database.write() as session:
                    now = clock(session)
                    if request.key is not None and (known := IntentRepository(session).with_key(scope, request.key)):
                        if known.fingerprint != request.fingerprint(op):
                            raise KeyReusedError(
                                f"The key {request.key!r} was used for another request. Take a new key.",
                                key=request.key,
                            )
                        if known.state == IntentState.DONE:
                            return IntentHandle(known.id, project_id, "", op, now, answer=known.result or {})
                        in_the_way = known.id
                        if again and known.lease_expires_at > now:
                            return IntentHandle(known.id, project_id, "", op, now, answer={})
                        self.check_lease(known, now)
                    else:
                        return self._insert(
                            session,
                            now,
                            project_id,
                            op,
                            request=request,
                            prepare=prepare,
                            reserve_bytes=reserve_bytes,
                            lease_s=lease_s,
                            enter=enter,
                        )
            except FileLockedError as busy:
                in_the_way = busy.intent_id
                self._check_running(in_the_way)
            except IntegrityError as error:
                # The same key came in through another transaction since it was looked up: look again.
                if not _is_about_keys(error):
                    raise
            if in_the_way is not None:
                self.recover_one(in_the_way)
        raise InProgressError("Others work on the same all the time. Send it again.", retry_after_s=1.0)

    def claim_key(self, project_id: str, key: str | None, *arguments: str) -> None:
        """Keep a key for a request that is carried out as several writes, each with a key of its own.

        Raises:
            NotFoundError, ConflictError: there is no such project that takes writes.
            KeyReusedError: the key was used for another request.
        """

        def nothing(_session: Session, _intent: IntentModel, _now: datetime) -> dict[str, Any]:
            raise AlreadyAnsweredError({})

        self.begin(project_id, IntentOp.WRITE, Request(key, arguments), nothing)

    def _insert(
        self,
        session: Session,
        now: datetime,
        project_id: str,
        op: IntentOp,
        *,
        request: Request,
        prepare: Prepare,
        reserve_bytes: int,
        lease_s: float | None,
        enter: Callable[[Session, datetime], None] | None,
    ) -> IntentHandle:
        if enter is None:
            ProjectRepository(session).reserve(project_id, reserve_bytes)
        else:
            enter(session, now)
        lease = self.settings.lease_s if lease_s is None else lease_s
        intent = IntentModel(
            id=secrets.token_hex(16),
            project_id=project_id,
            op=op,
            scope=request.scope_in(project_id),
            key=request.key,
            fingerprint=request.fingerprint(op),
            owner=secrets.token_hex(16),
            lease_expires_at=now + timedelta(seconds=lease),
            reserved_bytes=reserve_bytes,
            created_at=now,
        )
        IntentRepository(session).add(intent)
        handle = IntentHandle(
            intent.id, project_id, intent.owner, op, now, {}, reserve_bytes, time.monotonic() + lease / 3
        )
        try:
            handle.plan = prepare(session, intent, now) | {"lease_s": lease, "actor": audit.values(audit.current())}
        except AlreadyAnsweredError as answered:
            handle.answer = answered.result
            ProjectRepository(session).unreserve(project_id, reserve_bytes)
            if request.key is None:
                IntentRepository(session).remove(intent.id)
            else:
                done = {"state": IntentState.DONE, "finished_at": now, "reserved_bytes": 0, "result": answered.result}
                IntentRepository(session).update(intent.id, intent.owner, **done)
            return handle
        IntentRepository(session).update(intent.id, intent.owner, plan=handle.plan)
        StoreRepository(session).reserve(reserve_bytes)
        return handle

    @staticmethod
    def check_lease(known: IntentModel, now: datetime) -> None:
        """Refuse to touch an open intent whose lease runs.

        Raises:
            InProgressError: it does.
        """
        left = left_s(known, now)
        if left > 0:
            raise InProgressError(
                f"This is being worked on ({known.op}); it gives a sign of life within {left:.0f} s or is taken over "
                "then. Send it again after that.",
                retry_after_s=left,
            )

    def _check_running(self, intent_id: str) -> None:
        """Raise if an intent is open and its lease runs."""
        with self.database.read() as session:
            known = IntentRepository(session).get(intent_id)
            if known is not None and known.state == IntentState.OPEN:
                self.check_lease(known, clock(session))

    def renew(self, handle: IntentHandle) -> None:
        """Say that the owner lives, when a third of the lease has gone by.

        Raises:
            LostError: somebody else took the intent over.
        """
        if time.monotonic() < handle.renew_at_s:
            return
        with self.database.write() as session:
            until = clock(session) + timedelta(seconds=self.settings.lease_s)
            if not IntentRepository(session).update(handle.intent_id, handle.owner, lease_expires_at=until):
                raise IntentLostError
        handle.renew_at_s = time.monotonic() + self.settings.lease_s / 3

    def reserve_more(self, handle: IntentHandle, size_bytes: int) -> None:
        """Reserve further bytes for an open intent.

        Raises:
            LostError: somebody else took the intent over.
            QuotaExceededError: there is no room.
        """
        with self.database.write() as session:
            self._more(session, handle, size_bytes)
        handle.reserved_bytes += size_bytes

    def _more(self, session: Session, handle: IntentHandle, size_bytes: int, **values: Any) -> None:  # noqa: ANN401 - columns
        if size_bytes > 0:
            ProjectRepository(session).reserve(handle.project_id, size_bytes)
        until = clock(session) + timedelta(seconds=self.settings.lease_s)
        values |= {"lease_expires_at": until, "reserved_bytes": handle.reserved_bytes + max(0, size_bytes)}
        if not IntentRepository(session).update(handle.intent_id, handle.owner, **values):
            raise IntentLostError
        if size_bytes > 0:
            StoreRepository(session).reserve(size_bytes)

    def record_plan(self, handle: IntentHandle, plan: dict[str, Any], need_bytes: int) -> None:
        """Check the lease, write down what is about to be published, and reserve it: the step before the links.

        Raises:
            LostError: somebody else took the intent over.
            QuotaExceededError: there is no room.
        """
        missing = max(0, need_bytes - handle.reserved_bytes)
        with self.database.write() as session:
            self._more(session, handle, missing, plan=plan)
        handle.plan = plan
        handle.reserved_bytes += missing

    def finish(self, handle: IntentHandle, apply: Apply) -> dict[str, Any]:
        """Do the last transaction: whatever `apply` does, the reservation, the key's answer, the intent's end.

        Raises:
            LostError: somebody else took the intent over.
        """
        with self.database.write() as session:
            ProjectRepository(session).hold(handle.project_id)
            now = clock(session)
            if not IntentRepository(session).update(
                handle.intent_id, handle.owner, state=IntentState.DONE, finished_at=now, reserved_bytes=0
            ):
                raise IntentLostError
            ReferenceRepository(session).drop(handle.intent_id)
            result = apply(session, now)
            audit.record(
                session,
                now,
                handle.operation or handle.plan.get("operation") or handle.op,
                actor=audit.actor_of(handle.plan),
                project_id=handle.project_id,
                details=handle.plan.get("details", {}) | handle.details,
            )
            IntentRepository(session).answer(handle.intent_id, result)
            return result

    def release(self, handle: IntentHandle) -> bool:
        """End an intent that did nothing: its bytes and its key are free again. False when it was not this owner's."""
        with self.database.write() as session:
            ProjectRepository(session).hold(handle.project_id)
            intent = IntentRepository(session).get(handle.intent_id)
            reserved = intent.reserved_bytes if intent else 0
            if not IntentRepository(session).update(
                handle.intent_id,
                handle.owner,
                state=IntentState.RELEASED,
                key=None,
                finished_at=clock(session),
                reserved_bytes=0,
            ):
                return False
            ReferenceRepository(session).drop(handle.intent_id)
            FileRepository(session).release_files(handle.intent_id)
            ProjectRepository(session).apply_delta(handle.project_id, Change(), reserved_bytes=reserved)
            return True

    def abandon(self, handle: IntentHandle) -> None:
        """Let a lease run out now, so that whoever comes next goes on with what can only be finished."""
        with suppress(BackendError), self.database.write() as session:
            IntentRepository(session).update(handle.intent_id, handle.owner, lease_expires_at=clock(session))

    def owns(self, handle: IntentHandle) -> bool:
        """Tell whether an intent is open and still this owner's."""
        with self.database.read() as session:
            intent = IntentRepository(session).get(handle.intent_id)
            return intent is not None and (intent.state, intent.owner) == (IntentState.OPEN, handle.owner)

    def outcome(self, handle: IntentHandle) -> dict[str, Any]:
        """What became of an intent that was lost.

        Raises:
            LeaseLostError: it was released, so that nothing was published.
            InProgressError: somebody is finishing it.
        """
        with self.database.read() as session:
            intent = IntentRepository(session).get(handle.intent_id)
            now = clock(session)
        if intent is not None and intent.state == IntentState.DONE:
            return intent.result or {}
        if intent is not None and intent.state == IntentState.OPEN:
            raise InProgressError(
                "This took so long that somebody else is finishing it. Send it again with the same key.",
                retry_after_s=max(0.0, left_s(intent, now)),
            )
        raise LeaseLostError(
            f"This took longer than its lease ({self.settings.lease_s:.0f} s without a sign of life) and was undone "
            "by somebody else. Nothing was published: send it again, the same key may be used."
        )

    @staticmethod
    def free(rows: Iterable[FileModel]) -> None:
        """Refuse rows that another intent works on.

        Raises:
            BusyError: it does.
        """
        for row in rows:
            if row.intent_id is not None:
                raise FileLockedError(row.intent_id)


def left_s(intent: IntentModel, now: datetime) -> float:
    """For how many seconds a lease still runs: no longer than it is, even when the clock went back since it began."""
    left = (intent.lease_expires_at - now).total_seconds()
    return min(left, float(intent.plan.get("lease_s", left)))


def _check_key(key: str) -> None:
    if not key or len(key) > KEY_LIMIT or not key.isprintable():
        raise InvalidRequestError(
            f"An idempotency key has 1 to {KEY_LIMIT} printable characters; take a random UUID for each new request."
        )


def _is_about_keys(error: IntegrityError) -> bool:
    """PostgreSQL names the constraint, SQLite the columns."""
    said = str(error.orig)
    return "uq_intent_scope_key" in said or "intent.scope, intent.key" in said
