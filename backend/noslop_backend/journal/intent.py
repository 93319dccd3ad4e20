# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operation as it is asked for, the intent that stands for it, and what can become of that on the way."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from blake3 import blake3
from sqlmodel import Session

from noslop_backend.core.enums import IntentOp
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import Plan
from noslop_backend.repositories import ProjectRepository
from noslop_backend.share import Share

if TYPE_CHECKING:
    from noslop_backend.journal.journal import Journal

P = TypeVar("P", bound=Plan)
#: The answer that the request gets, and each repetition of it, as JSON.
Result: TypeAlias = dict[str, Any]


class IntentLostError(Exception):
    """Another process owns the intent by now. Never leaves the service."""


class FileLockedError(Exception):
    """Another intent works on a file. Never leaves the service."""

    def __init__(self, intent_id: str) -> None:
        super().__init__(intent_id)
        self.intent_id = intent_id


class AlreadyAnsweredError(Exception):
    """There is nothing to do: this is the answer, to be kept for the key. Never leaves the service."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


@dataclass
class IntentHandle(Generic[P]):
    """An intent that this process owns."""

    intent_id: str
    project_id: str
    owner: str
    op: IntentOp
    #: When it began, by the database's clock.
    moment: datetime
    plan: P
    reserved_bytes: int = 0
    #: When the lease is to be renewed, by `time.monotonic`.
    renew_at_s: float = 0.0
    #: Everything has its final name: from here it can only be finished.
    published: bool = False
    #: For the audit log: what was done, where that says more than `op`, and to what.
    operation: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a key led to before, or what there was nothing to do for."""

    intent_id: str
    result: Result


@dataclass(frozen=True)
class Request:
    """What makes two requests the same, for a key."""

    key: str | None = None
    arguments: tuple[Any, ...] = ()
    #: Where the key means something; by default the project.
    scope: str | None = None

    def scope_in(self, project_id: str) -> str:
        """Return where the key means something."""
        return project_id if self.scope is None else self.scope

    def fingerprint(self, op: IntentOp) -> str:
        """Return a hash of what was asked for."""
        return blake3(json.dumps([op, *self.arguments], sort_keys=True, default=str).encode()).hexdigest()


class Operation(ABC, Generic[P]):
    """A change of a project, in the three steps that its intent goes through.

    `prepare` runs in the first transaction, `execute` from there to the last one, `recover` in place of `execute` when
    the process that did it died. An operation is only ever finished unless its `fail` and `recover` undo it.
    """

    kind: ClassVar[IntentOp]

    def __init__(self, project_id: str, request: Request, reserve_bytes: int = 0) -> None:
        self.project_id = project_id
        self.request = request
        #: What is set aside in the project and the store.
        self.reserve_bytes = reserve_bytes
        #: Other than `settings.lease_s`.
        self.lease_s: float | None = None
        #: An open intent of the same key is the answer (an empty one) as long as its lease runs.
        self.joins = False

    def enter(self, session: Session, _now: datetime) -> None:
        """Lock the project, which has to be one that takes writes, and reserve; the first statement of the intent."""
        ProjectRepository(session).reserve(self.project_id, self.reserve_bytes)

    @abstractmethod
    def prepare(self, session: Session, intent: IntentModel, now: datetime) -> P:
        """Make the plan, in the first transaction; the intent is inserted by then.

        Raises:
            FileLockedError: another intent works on a file.
            AlreadyAnsweredError: there is nothing to do.
        """

    @abstractmethod
    def execute(self, journal: Journal, share: Share, handle: IntentHandle[P]) -> Result:
        """Change the share, and do the last transaction.

        Raises:
            IntentLostError: it took longer than the lease, and another process owns the intent.
        """

    def fail(self, journal: Journal, _share: Share, handle: IntentHandle[P], _error: BaseException) -> Result | None:
        """Clean up after `execute` failed; an answer takes the place of the error.

        By default nothing is undone: the lease ends, and the next process that asks continues.
        """
        journal.abandon(handle)
        return None
