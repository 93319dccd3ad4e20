# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of changes: an intent first, then the bytes, then one transaction that finishes everything.

An intent holds what will be done and reserves what it costs. While its lease runs no other process touches it;
afterwards any process finishes or releases it. Every step of its owner compares the owner, so one that stalled and
comes back learns what became of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeAlias

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
from noslop_backend.journal import audit, lease
from noslop_backend.journal.catch_up import catch_up
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import (
    AlreadyAnsweredError,
    Answer,
    FileLockedError,
    IntentHandle,
    IntentLostError,
    Operation,
    P,
    Result,
)
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import Plan, read_plan
from noslop_backend.repositories import (
    FileRepository,
    IntentRepository,
    ProjectRepository,
    ReferenceRepository,
    StoreRepository,
)
from noslop_backend.repositories.counters import Change
from noslop_backend.share import Share

KEY_LIMIT = 255
#: Each attempt either gets on or finishes what was in the way; a handful means that others are at it all the time.
_ATTEMPTS = 20

#: Called within the last transaction; returns the answer.
Apply: TypeAlias = Callable[[Session, datetime], Result]
#: Takes an intent whose owner died to its end, and returns what it is then.
Recover: TypeAlias = "Callable[[Journal, Share, IntentHandle[Any]], IntentState]"


class Journal:
    """Begins, renews, finishes, releases and recovers intents."""

    def __init__(self, context: StorageContext, recover: Mapping[IntentOp, Recover]) -> None:
        """Make the journal of a database and its share.

        Args:
            context: the settings, the database, the share.
            recover: what takes the intents of each operation to their end.
        """
        self.context = context
        self.settings = context.settings
        self.database = context.database
        self._recover = recover

    def run(self, operation: Operation[P]) -> Result:
        """Do an operation from its beginning to its end; or return what its key led to before."""
        with self.context.share() as share:
            handle = self.begin(operation)
            return handle.result if isinstance(handle, Answer) else self.execute(share, operation, handle)

    def execute(self, share: Share, operation: Operation[P], handle: IntentHandle[P]) -> Result:
        """Do what follows the first transaction of an operation."""
        try:
            return operation.execute(self, share, handle)
        except IntentLostError:
            return self.outcome(handle)
        except BaseException as error:
            answer = operation.fail(self, share, handle, error)
            if answer is None:
                raise
            return answer

    def begin(self, operation: Operation[P]) -> IntentHandle[P] | Answer:
        """Do the first transaction: look the key up, reserve, insert the intent, plan."""
        request = operation.request
        if request.key is not None:
            _check_key(request.key)
        new = operation.kind in {IntentOp.CREATE_PROJECT, IntentOp.IMPORT_PROJECT}
        catch_up(self.context, operation.project_id, new=new)
        for _ in range(_ATTEMPTS):
            in_the_way: str | None = None
            try:
                with self.database.write() as session:
                    now = clock(session)
                    earlier = self._with_key(session, operation)
                    if earlier is None:
                        return self._insert(session, now, operation)
                    if earlier.state == IntentState.DONE:
                        return Answer(earlier.id, earlier.result or {})
                    in_the_way = earlier.id
                    if operation.joins and earlier.lease_expires_at > now:
                        return Answer(earlier.id, {})
                    lease.check_expired(earlier, now)
            except FileLockedError as locked:
                in_the_way = locked.intent_id
                self._check_running(in_the_way)
            except IntegrityError as error:
                # The same key came in through another transaction since it was looked up: look again.
                if not _is_about_keys(error):
                    raise
            if in_the_way is not None:
                self.recover_one(in_the_way)
        raise InProgressError("Others work on the same all the time. Send it again.", retry_after_s=1.0)

    @staticmethod
    def _with_key(session: Session, operation: Operation[Any]) -> IntentModel | None:
        request = operation.request
        if request.key is None:
            return None
        earlier = IntentRepository(session).with_key(request.scope_in(operation.project_id), request.key)
        if earlier is not None and earlier.fingerprint != request.fingerprint(operation.kind):
            raise KeyReusedError(
                f"The key {request.key!r} was used for another request. Take a new key.", key=request.key
            )
        return earlier

    def _insert(self, session: Session, now: datetime, operation: Operation[P]) -> IntentHandle[P] | Answer:
        operation.enter(session, now)
        request, size_bytes = operation.request, operation.reserve_bytes
        lease_s = self.settings.lease_s if operation.lease_s is None else operation.lease_s
        intent = IntentModel(
            id=secrets.token_hex(16),
            project_id=operation.project_id,
            op=operation.kind,
            scope=request.scope_in(operation.project_id),
            key=request.key,
            fingerprint=request.fingerprint(operation.kind),
            owner=lease.new_owner(),
            lease_expires_at=now + timedelta(seconds=lease_s),
            reserved_bytes=size_bytes,
            plan={},
            created_at=now,
        )
        intents = IntentRepository(session)
        intents.add(intent)
        try:
            plan = operation.prepare(session, intent, now)
        except AlreadyAnsweredError as answered:
            ProjectRepository(session).unreserve(operation.project_id, size_bytes)
            if request.key is None:
                intents.remove(intent.id)
            else:
                done = {"state": IntentState.DONE, "finished_at": now, "reserved_bytes": 0, "result": answered.result}
                intents.update(intent.id, intent.owner, **done)
            return Answer(intent.id, answered.result)
        plan.lease_s, plan.actor = lease_s, audit.planned(audit.current())
        if (missing := plan.need_bytes - size_bytes) > 0:
            ProjectRepository(session).reserve(operation.project_id, missing, own_bytes=size_bytes)
            size_bytes += missing
        intents.update(intent.id, intent.owner, plan=plan.to_json(), reserved_bytes=size_bytes)
        StoreRepository(session).reserve(size_bytes)
        return IntentHandle(
            intent_id=intent.id,
            project_id=operation.project_id,
            owner=intent.owner,
            op=operation.kind,
            moment=now,
            plan=plan,
            reserved_bytes=size_bytes,
            renew_at_s=lease.renew_at_s(lease_s),
        )

    def _check_running(self, intent_id: str) -> None:
        """Raise if an intent is open and its lease runs."""
        with self.database.read() as session:
            intent = IntentRepository(session).get(intent_id)
            if intent is not None and intent.state == IntentState.OPEN:
                lease.check_expired(intent, clock(session))

    def recover_one(self, intent_id: str) -> IntentState | None:
        """Finish or release one intent whose lease has run out.

        Returns:
            What it is now; None when another process was faster, or its lease runs.
        """
        with self.context.share() as share:
            handle = self._claim(intent_id)
            if handle is None:
                return None
            try:
                return self._recover[handle.op](self, share, handle)
            except IntentLostError:
                return None
            except BaseException:
                self.abandon(handle)
                raise

    def _claim(self, intent_id: str) -> IntentHandle[Plan] | None:
        with self.database.write() as session:
            intents = IntentRepository(session)
            intent = intents.get(intent_id)
            if intent is None or (owner := lease.claim(session, intent, self.settings.lease_s)) is None:
                return None
            intent = intents.get(intent_id)
            assert intent is not None
            return handle_of(intent, owner, read_plan(intent))

    def renew(self, handle: IntentHandle[Any]) -> None:
        """Renew the lease when a third of it has gone by.

        Raises:
            IntentLostError: another process owns the intent.
        """
        if time.monotonic() >= handle.renew_at_s:
            with self.database.write() as session:
                lease.renew(session, handle, self.settings.lease_s)

    def reserve_more(self, handle: IntentHandle[Any], size_bytes: int) -> None:
        """Reserve further bytes for an open intent.

        Raises:
            IntentLostError: another process owns the intent.
            QuotaExceededError: there is no room.
        """
        with self.database.write() as session:
            self._reserve(session, handle, size_bytes)
        handle.reserved_bytes += size_bytes

    def _reserve(self, session: Session, handle: IntentHandle[Any], size_bytes: int, **columns: Any) -> None:  # noqa: ANN401 - columns of the table
        if size_bytes > 0:
            ProjectRepository(session).reserve(handle.project_id, size_bytes, own_bytes=handle.reserved_bytes)
        reserved = handle.reserved_bytes + max(0, size_bytes)
        lease.renew(session, handle, self.settings.lease_s, reserved_bytes=reserved, **columns)
        if size_bytes > 0:
            StoreRepository(session).reserve(size_bytes, handle.reserved_bytes)

    def record_plan(self, handle: IntentHandle[P], plan: P, need_bytes: int) -> None:
        """Check the lease, write down what is about to be published, and reserve it: the step before the links.

        Raises:
            IntentLostError: another process owns the intent.
            QuotaExceededError: there is no room.
        """
        missing = max(0, need_bytes - handle.reserved_bytes)
        with self.database.write() as session:
            self._reserve(session, handle, missing, plan=plan.to_json())
        handle.plan = plan
        handle.reserved_bytes += missing

    def advance(
        self, handle: IntentHandle[P], plan: P, apply: Callable[[Session, datetime], None], others: Iterable[str]
    ) -> None:
        """Do a transaction in the middle of an operation, which uses up what is reserved.

        Args:
            handle: the intent.
            plan: what it will hold from then on.
            apply: called within it; releases in the project what is reserved.
            others: projects that are locked too.

        Raises:
            IntentLostError: another process owns the intent.
        """
        with self.database.write() as session:
            for project_id in sorted({handle.project_id, *others}):
                ProjectRepository(session).lock_row(project_id)
            now = clock(session)
            lease.renew(session, handle, self.settings.lease_s, plan=plan.to_json(), reserved_bytes=0)
            apply(session, now)
        handle.plan, handle.reserved_bytes = plan, 0

    def finish(self, handle: IntentHandle[Any], apply: Apply) -> Result:
        """Do the last transaction: whatever `apply` does, the reservation, the key's answer, the intent's end.

        Raises:
            IntentLostError: another process owns the intent.
        """
        with self.database.write() as session:
            ProjectRepository(session).lock_row(handle.project_id)
            now = clock(session)
            intents = IntentRepository(session)
            if not intents.update(
                handle.intent_id, handle.owner, state=IntentState.DONE, finished_at=now, reserved_bytes=0
            ):
                raise IntentLostError
            ReferenceRepository(session).drop(handle.intent_id)
            result = apply(session, now)
            plan: Plan = handle.plan
            audit.record(
                session,
                now,
                handle.operation or plan.operation or handle.op,
                actor=audit.actor_of(plan),
                project_id=handle.project_id,
                details=plan.details | handle.details,
            )
            intents.answer(handle.intent_id, result)
            return result

    def release(self, handle: IntentHandle[Any]) -> bool:
        """End an intent that did nothing: its bytes and its key are free again. False when it was not this owner's."""
        with self.database.write() as session:
            ProjectRepository(session).lock_row(handle.project_id)
            intents = IntentRepository(session)
            intent = intents.get(handle.intent_id)
            reserved = intent.reserved_bytes if intent else 0
            ended = {"state": IntentState.RELEASED, "key": None, "finished_at": clock(session), "reserved_bytes": 0}
            if not intents.update(handle.intent_id, handle.owner, **ended):
                return False
            ReferenceRepository(session).drop(handle.intent_id)
            FileRepository(session).release_files(handle.intent_id)
            ProjectRepository(session).apply_delta(handle.project_id, Change(), reserved_bytes=reserved)
            return True

    def record_undo(self, handle: IntentHandle[Any]) -> bool:
        """Write down that an intent is being undone: from then on it is never finished. False when it is not ours."""
        handle.plan.undo = True
        with self.database.write() as session:
            return IntentRepository(session).update(handle.intent_id, handle.owner, plan=handle.plan.to_json())

    def abandon(self, handle: IntentHandle[Any]) -> None:
        """End the lease now, so that the next process that asks continues what can only be finished."""
        with suppress(BackendError), self.database.write() as session:
            lease.end(session, handle)

    def owns(self, handle: IntentHandle[Any]) -> bool:
        """Return whether an intent is open and still this owner's."""
        with self.database.read() as session:
            intent = IntentRepository(session).get(handle.intent_id)
            return intent is not None and (intent.state, intent.owner) == (IntentState.OPEN, handle.owner)

    def outcome(self, handle: IntentHandle[Any]) -> Result:
        """Return what became of an intent that was lost.

        Raises:
            LeaseLostError: it was released, so that nothing was published.
            InProgressError: another process is finishing it.
        """
        with self.database.read() as session:
            intent = IntentRepository(session).get(handle.intent_id)
            now = clock(session)
        if intent is not None and intent.state == IntentState.DONE:
            return intent.result or {}
        if intent is not None and intent.state == IntentState.OPEN:
            raise InProgressError(
                "This took so long that another process is finishing it. Send it again with the same key.",
                retry_after_s=max(0.0, lease.left_s(intent, now)),
            )
        raise LeaseLostError(
            f"This took longer than its lease ({self.settings.lease_s:.0f} s without a sign of life) and was undone "
            "by another process. Nothing was published: send it again, the same key may be used."
        )


def handle_of(intent: IntentModel, owner: str, plan: P) -> IntentHandle[P]:
    """Return the handle of an intent that was claimed."""
    op = IntentOp(intent.op)
    return IntentHandle(intent.id, intent.project_id, owner, op, intent.created_at, plan, intent.reserved_bytes)


def require_unclaimed(rows: Iterable[FileModel]) -> None:
    """Refuse rows that another intent works on.

    Raises:
        FileLockedError: it does.
    """
    for row in rows:
        if row.intent_id is not None:
            raise FileLockedError(row.intent_id)


def _check_key(key: str) -> None:
    if not key or len(key) > KEY_LIMIT or not key.isprintable():
        raise InvalidRequestError(
            f"An idempotency key has 1 to {KEY_LIMIT} printable characters; take a random UUID for each new request."
        )


def _is_about_keys(error: IntegrityError) -> bool:
    """Return whether a key was there already. PostgreSQL names the constraint, SQLite the columns."""
    message = str(error.orig)
    return "uq_intent_scope_key" in message or "intent.scope, intent.key" in message
