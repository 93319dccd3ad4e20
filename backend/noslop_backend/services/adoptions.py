# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reserve, renew, adopt and release tickets for files that workers write onto the share themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import IntentOp, IntentState
from noslop_backend.core.errors import InvalidRequestError, LeaseLostError, NotFoundError
from noslop_backend.journal import audit, lease, publish
from noslop_backend.journal.intent import Answer, IntentHandle
from noslop_backend.journal.journal import Journal, handle_of
from noslop_backend.journal.validation import validate_details
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import AdoptPlan, read_plan
from noslop_backend.operations.adopt_file import AdoptFile
from noslop_backend.repositories import IntentRepository
from noslop_backend.schemas import AdoptionTicket, FilePublic
from noslop_backend.share import layout
from noslop_backend.share.layout import GENERATED, INTERMEDIATE, FileKind


class Adoptions:
    """The service of files that are on the share already."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.settings = journal.settings
        self.database = journal.database

    def reserve_adoption(
        self,
        project_id: str,
        kind: FileKind | None,
        name: str,
        size_bytes: int,
        *,
        inputs: Sequence[str] = (),
        parameters: dict[str, Any] | None = None,
        inspect: bool = True,
        key: str | None = None,
    ) -> AdoptionTicket:
        """Reserve bytes and a path in `.staging` where a worker on the share may write one file: the first step.

        The ticket lasts `adopt_lease_s`; `renew_adoption` prolongs it. With the same key the same ticket comes again.
        `kind` None means generated media of whatever type the content is. With `inspect` False what the file embeds is
        not read when it is adopted.
        """
        if kind is not None and kind not in GENERATED | INTERMEDIATE:
            raise InvalidRequestError(f"Generated media and intermediates are adopted; {kind} is saved another way.")
        details = validate_details(name, parameters=parameters, inputs=inputs, length=size_bytes, inspect=inspect)
        operation = AdoptFile(project_id, kind, details, key=key)
        operation.lease_s = self.settings.adopt_lease_s
        with self.journal.context.share():
            handle = self.journal.begin(operation)
        with self.database.read() as session:
            return self._ticket(self._intent(session, project_id, handle.intent_id))

    def renew_adoption(self, project_id: str, intent_id: str) -> AdoptionTicket:
        """Prolong a ticket.

        Raises:
            LeaseLostError: it had run out and was released.
            InProgressError: it is being adopted.
        """
        with self.database.write() as session:
            intent = self._intent(session, project_id, intent_id)
            if intent.state != IntentState.OPEN:
                raise LeaseLostError(
                    f"The ticket {intent_id} is {intent.state}. Reserve anew if there is more to write."
                )
            now, plan = clock(session), _plan(intent)
            plan.ticket.expires_at = now + timedelta(seconds=self.settings.adopt_lease_s)
            if intent.owner == plan.ticket.owner:
                intent.lease_expires_at = plan.ticket.expires_at
            else:
                lease.check_expired(intent, now)
            intent.plan = plan.to_json()
            session.add(intent)
            session.flush()
            return self._ticket(intent)

    def adopt(self, project_id: str, intent_id: str, *, expected_blake3: str | None = None) -> FilePublic:
        """Publish the file that the worker wrote and closed: hashed here, and that very file linked into place.

        Called again after it was adopted it gives the same answer.

        Raises:
            ContentChangedError: a process wrote to the file while it was adopted. Nothing was kept.
            UnsafePathError: it is no ordinary file of the studio's account.
            ContentMismatchError, UnsupportedMediaError, QuotaExceededError: it stays in `.staging` until the ticket
                runs out or is released.
        """
        expected = validate_details("-", expected_blake3=expected_blake3).expected_blake3
        with self.journal.context.share() as share:
            handle = self._claim(project_id, intent_id)
            if isinstance(handle, Answer):
                return FilePublic.model_validate(handle.result["file"])
            operation = AdoptFile(project_id, expected_blake3=expected)
            return FilePublic.model_validate(self.journal.execute(share, operation, handle)["file"])

    def release_adoption(self, project_id: str, intent_id: str) -> None:
        """Release a ticket: its bytes are free again and the file in `.staging` is removed."""
        with self.journal.context.share() as share:
            handle = self._claim(project_id, intent_id)
            if isinstance(handle, IntentHandle):
                publish.undo(self.journal, share, handle)

    @staticmethod
    def _intent(session: Session, project_id: str, intent_id: str) -> IntentModel:
        intent = IntentRepository(session).get(intent_id) if layout.INTENT_ID.fullmatch(intent_id) else None
        if intent is None or (intent.project_id, intent.op) != (project_id, IntentOp.ADOPT):
            raise NotFoundError(f"The project {project_id} has no ticket {intent_id!r}. Reserve one first.")
        return intent

    def _ticket(self, intent: IntentModel) -> AdoptionTicket:
        path = self.journal.context.tree.root / intent.project_id / layout.staging(intent.id, publish.MAIN_PART)
        # The plan of an intent that is over is gone.
        expires_at = _plan(intent).ticket.expires_at if intent.plan else intent.lease_expires_at
        return AdoptionTicket(
            ticket_id=intent.id,
            project_id=intent.project_id,
            staging_path=str(path),
            reserved_bytes=intent.reserved_bytes,
            expires_at=expires_at,
        )

    def _claim(self, project_id: str, intent_id: str) -> IntentHandle[AdoptPlan] | Answer:
        """Become the owner of a ticket, or of the attempt of a process that died at it."""
        with self.database.write() as session:
            intent = self._intent(session, project_id, intent_id)
            if intent.state == IntentState.DONE:
                return Answer(intent_id, intent.result or {})
            if intent.state == IntentState.RELEASED:
                raise LeaseLostError(
                    f"The ticket {intent_id} was released, and its file removed. Reserve anew and write again."
                )
            plan, now = _plan(intent), clock(session)
            if intent.owner != plan.ticket.owner:
                lease.check_expired(intent, now)
            owner = lease.claim(session, intent, self.settings.lease_s, from_owner=plan.ticket.owner)
            if owner is None:
                # Another process was faster: this raises, unless that one is over again.
                lease.check_expired(self._intent(session, project_id, intent_id), now)
                owner = lease.new_owner()
            # The author of the file is who adopts, and not who reserved.
            plan.actor = audit.planned(audit.current())
            return handle_of(intent, owner, plan)


def _plan(intent: IntentModel) -> AdoptPlan:
    plan = read_plan(intent)
    assert isinstance(plan, AdoptPlan)
    return plan
