# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of an intent: until when only its owner may work on it, by the database's clock.

Owns: every change of `owner` and `lease_expires_at` after an intent was inserted.
"""

from __future__ import annotations

import secrets
import time
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.errors import InProgressError
from noslop_backend.journal.intent import IntentHandle, IntentLostError
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import AdoptPlan, read_plan
from noslop_backend.repositories import IntentRepository


def new_owner() -> str:
    """Return an id for a process that works on an intent."""
    return secrets.token_hex(16)


def renew_at_s(lease_s: float) -> float:
    """Return when a lease that begins now is to be renewed, by `time.monotonic`: when a third of it has gone by."""
    return time.monotonic() + lease_s / 3


def left_s(intent: IntentModel, now: datetime) -> float:
    """Return for how many seconds a lease runs: at most its length, even when the clock went back since it began."""
    left = (intent.lease_expires_at - now).total_seconds()
    return min(left, float(intent.plan.get("lease_s", left)))


def check_expired(intent: IntentModel, now: datetime) -> None:
    """Refuse to touch an open intent whose lease runs.

    Raises:
        InProgressError: it does.
    """
    left = left_s(intent, now)
    if left > 0:
        raise InProgressError(
            f"This is being worked on ({intent.op}); it gives a sign of life within {left:.0f} s, or another process "
            "finishes it then. Send it again after that.",
            retry_after_s=left,
        )


def renew(session: Session, handle: IntentHandle[Any], lease_s: float, **columns: Any) -> None:  # noqa: ANN401 - columns of the table
    """Let the lease of this owner run for `lease_s` from now, and change other columns with it.

    Raises:
        IntentLostError: another process owns the intent.
    """
    until = clock(session) + timedelta(seconds=lease_s)
    if not IntentRepository(session).update(handle.intent_id, handle.owner, lease_expires_at=until, **columns):
        raise IntentLostError
    handle.renew_at_s = renew_at_s(lease_s)


def end(session: Session, handle: IntentHandle[Any]) -> None:
    """Let the lease of this owner end now."""
    IntentRepository(session).update(handle.intent_id, handle.owner, lease_expires_at=clock(session))


def transfer(session: Session, handle: IntentHandle[Any], owner: str, until: datetime) -> None:
    """Change the owner of an intent from this one to another."""
    IntentRepository(session).update(handle.intent_id, handle.owner, owner=owner, lease_expires_at=until)


def claim(session: Session, intent: IntentModel, lease_s: float, *, from_owner: str | None = None) -> str | None:
    """Become the owner of an intent whose lease has run out, or that belongs to `from_owner`.

    Returns:
        The new owner; None when the lease runs, or another process was faster.
    """
    owner, now = new_owner(), clock(session)
    until = now + timedelta(seconds=lease_s)
    intents = IntentRepository(session)
    if from_owner is not None and intent.owner == from_owner:
        claimed = intents.update(intent.id, from_owner, owner=owner, lease_expires_at=until)
    else:
        claimed = intents.claim(intent.id, owner, now, until)
    return owner if claimed else None


def is_too_long(intent: IntentModel, now: datetime) -> bool:
    """Return whether a lease ends later than its length from now: the clock went back since it began."""
    return now + timedelta(seconds=left_s(intent, now)) < intent.lease_expires_at


def shorten(session: Session, intent: IntentModel, now: datetime) -> None:
    """Let a lease that is too long end its length from now, if no process changed it since it was read.

    A process that lives renews such a lease in time; one that died would keep it for as long as the clock went back.
    """
    longest = now + timedelta(seconds=left_s(intent, now))
    plan = read_plan(intent)
    if isinstance(plan, AdoptPlan) and plan.ticket.owner == intent.owner:
        plan.ticket.expires_at = longest
    IntentRepository(session).shorten(intent, longest, plan.to_json())
