# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that workers wrote onto the share themselves: reserved first, then adopted. No byte of content is moved."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import IntentOp, IntentState
from noslop_backend.core.errors import (
    BackendError,
    ConflictError,
    ContentChangedError,
    InvalidRequestError,
    LeaseLostError,
    NotFoundError,
)
from noslop_backend.journal import audit
from noslop_backend.journal.intent import IntentHandle, IntentLostError, Request
from noslop_backend.journal.publish import MAIN_PART, SIDECAR_PART, Writes
from noslop_backend.journal.validation import check_hash, generated_type, validate_details
from noslop_backend.media import tags
from noslop_backend.media.types import HEAD_BYTES, intermediate
from noslop_backend.models import IntentModel
from noslop_backend.repositories import Change, IntentRepository, ProjectRepository
from noslop_backend.schemas import AdoptionTicket, FilePublic
from noslop_backend.share import Foreign, Share, layout
from noslop_backend.share.layout import GENERATED, INTERMEDIATE, FileKind


class Adoption(Writes):
    """The part of the service about files that are on the share already."""

    def reserve_adoption(
        self,
        project_id: str,
        kind: FileKind | None,
        name: str,
        size_bytes: int,
        *,
        inputs: Sequence[str] = (),
        parameters: dict[str, Any] | None = None,
        key: str | None = None,
    ) -> AdoptionTicket:
        """Reserve bytes and a path in `.staging` where a worker on the share may write one file: the first step.

        The ticket lasts `adopt_lease_s`; `renew_adoption` prolongs it. With the same key the same ticket comes again.
        `kind` None means generated media of whatever type the content is.
        """
        if kind is not None and kind not in GENERATED | INTERMEDIATE:
            raise InvalidRequestError(f"Generated media and intermediates are adopted; {kind} is saved another way.")
        said = validate_details(name, parameters=parameters, inputs=inputs, length=size_bytes)

        def prepare(session: Session, intent: IntentModel, _now: datetime) -> dict[str, Any]:
            self.reserve_inputs(session, intent, said.inputs)
            until = intent.lease_expires_at.isoformat()
            ticket = {"owner": intent.owner, "expires_at": until, "reserved_bytes": size_bytes}
            return {"file": self.new_file(kind, said), "ticket": ticket}

        request = Request(key, (kind, said.model_dump(mode="json")))
        with self.share():
            handle = self.begin(
                project_id,
                IntentOp.ADOPT,
                request,
                prepare,
                reserve_bytes=size_bytes,
                lease_s=self.settings.adopt_lease_s,
                again=True,
            )
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
            until = clock(session) + timedelta(seconds=self.settings.adopt_lease_s)
            if intent.state != IntentState.OPEN:
                raise LeaseLostError(
                    f"The ticket {intent_id} is {intent.state}. Reserve anew if there is more to write."
                )
            owner = intent.plan["ticket"]["owner"]
            if intent.owner != owner:
                self.check_lease(intent, clock(session))
            plan = intent.plan | {"ticket": intent.plan["ticket"] | {"expires_at": until.isoformat()}}
            if intent.owner == owner:
                intent.lease_expires_at = until
            intent.plan = plan
            session.add(intent)
            session.flush()
            return self._ticket(intent)

    def adopt(self, project_id: str, intent_id: str, *, expected_blake3: str | None = None) -> FilePublic:
        """Publish the file that the worker wrote and closed: hashed here, and that very file linked into place.

        Called again after it was adopted it gives the same answer.

        Raises:
            ContentChangedError: somebody wrote to the file while it was adopted. Nothing was kept.
            UnsafePathError: it is no ordinary file of the studio's account.
            ContentMismatchError, UnsupportedMediaError, QuotaExceededError: it stays in `.staging` until the ticket
                runs out or is released.
        """
        expected = validate_details("-", expected_blake3=expected_blake3).expected_blake3
        with self.share() as share:
            handle = self._claim_ticket(project_id, intent_id)
            if handle.answer is not None:
                return FilePublic.model_validate(handle.answer["file"])
            if self.published(share, handle):
                result = self.finish_published(share, handle)
            else:
                self.forget_attempt(share, handle)
                result = self._adopt(share, handle, expected)
        return FilePublic.model_validate(result["file"])

    def release_adoption(self, project_id: str, intent_id: str) -> None:
        """Give a ticket back: its bytes are free again and the file in `.staging` is removed."""
        with self.share() as share:
            handle = self._claim_ticket(project_id, intent_id)
            if handle.answer is None:
                self.undo(share, handle)

    def _intent(self, session: Session, project_id: str, intent_id: str) -> IntentModel:
        found = IntentRepository(session).get(intent_id) if layout.INTENT_ID.fullmatch(intent_id) else None
        if found is None or (found.project_id, found.op) != (project_id, IntentOp.ADOPT):
            raise NotFoundError(f"The project {project_id} has no ticket {intent_id!r}. Reserve one first.")
        return found

    def _ticket(self, intent: IntentModel) -> AdoptionTicket:
        path = self.tree.root / intent.project_id / layout.staging(intent.id, MAIN_PART)
        said = (intent.plan.get("ticket") or {}).get("expires_at")
        return AdoptionTicket(
            ticket_id=intent.id,
            project_id=intent.project_id,
            staging_path=str(path),
            reserved_bytes=intent.reserved_bytes,
            expires_at=datetime.fromisoformat(said) if said else intent.lease_expires_at,
        )

    def _claim_ticket(self, project_id: str, intent_id: str) -> IntentHandle:
        """Become the owner of a ticket, or of the attempt of somebody who died at it."""
        owner = secrets.token_hex(16)
        with self.database.write() as session:
            intent = self._intent(session, project_id, intent_id)
            now = clock(session)
            until = now + timedelta(seconds=self.settings.lease_s)
            handle = IntentHandle(
                intent.id,
                project_id,
                owner,
                IntentOp.ADOPT,
                intent.created_at,
                intent.plan,
                intent.reserved_bytes,
            )
            if intent.state == IntentState.DONE:
                handle.answer = intent.result or {}
                return handle
            if intent.state == IntentState.RELEASED:
                raise LeaseLostError(
                    f"The ticket {intent_id} was released, and its file removed. Reserve anew and write again."
                )
            intents = IntentRepository(session)
            if intent.owner == intent.plan["ticket"]["owner"]:
                taken = intents.update(intent_id, intent.owner, owner=owner, lease_expires_at=until)
            else:
                self.check_lease(intent, now)
                taken = intents.claim(intent_id, owner, now, until)
            if not taken:
                self.check_lease(self._intent(session, project_id, intent_id), now)
        # Who adopts, and not who reserved.
        handle.plan = handle.plan | {"actor": audit.values(audit.current())}
        return handle

    def _adopt(self, share: Share, handle: IntentHandle, expected: str | None) -> dict[str, Any]:
        staged = layout.staging(handle.intent_id, MAIN_PART)
        try:
            with share.adoptable(handle.project_id, staged) as foreign:
                return self._publish_foreign(share, handle, foreign, expected)
        except IntentLostError:
            return self.outcome(handle)
        except ContentChangedError:
            self.undo(share, handle)
            raise
        except FileNotFoundError as error:
            self.hand_back(share, handle)
            raise NotFoundError(
                f"There is no {handle.project_id}/{staged} yet. Write it, close it, and adopt it then.",
                ticket_id=handle.intent_id,
            ) from error
        except BaseException:
            if handle.published:
                # It can only be finished: by whoever asks next.
                self.abandon(handle)
            else:
                self.hand_back(share, handle)
            raise

    def _publish_foreign(
        self, share: Share, handle: IntentHandle, foreign: Foreign, expected: str | None
    ) -> dict[str, Any]:
        project_id, spec = handle.project_id, handle.plan["file"]
        before = foreign.seal()
        seen = foreign.hash(lambda: self.renew(handle))
        check_hash(expected, seen.blake3)
        head = foreign.head(HEAD_BYTES)
        kind = None if spec["kind"] is None else FileKind(spec["kind"])
        found = intermediate(spec["name"], kind, head) if kind in INTERMEDIATE else generated_type(kind, head)
        with foreign.stream() as stream:
            texts = tags.read(stream, found.content_type)
        main = self.main_row(handle, found, seen)
        sidecar = self.stage_sidecar(share, handle, main, texts)
        rows = [main] if sidecar is None else [main, sidecar]
        mentioned = layout.ids_in_text(json.dumps([main.parameters, texts]))
        self.record_plan(handle, self.plan_rows(handle, rows, mentioned), sum(row.charged_bytes for row in rows))
        if sidecar is not None:
            share.publish(project_id, [(layout.staging(handle.intent_id, SIDECAR_PART), sidecar.path)])
        share.link_foreign(project_id, foreign, main.path)
        handle.published = True
        share.sync(project_id, os.path.dirname(main.path))
        after = share.look(project_id, main.path)
        if after is None:
            raise ConflictError(f"{project_id}/{main.path} vanished while it was being adopted. Adopt it again.")
        same = [
            (seen.inode, seen.size_bytes, seen.mtime_ns) == (f.st_ino, f.st_size, f.st_mtime_ns)
            for f in (before, after)
        ]
        if not all(same) or not stat.S_ISREG(after.st_mode):
            raise ContentChangedError(
                f"The file of the ticket {handle.intent_id} was written to while it was adopted. Nothing was kept: "
                "reserve anew, "
                "write, close, and adopt only then."
            )
        share.remove(project_id, [layout.staging(handle.intent_id, MAIN_PART)])
        return self.finish_rows(share, handle, rows)

    def hand_back(self, share: Share, handle: IntentHandle) -> None:
        """Give an attempt up and the ticket back to whoever holds it; the worker's file stays."""
        ticket = handle.plan["ticket"]
        # When this fails the lease of the attempt runs out, and the next attempt or recovery does it.
        with suppress(BackendError, IntentLostError, OSError):
            self.forget_attempt(share, handle)
            with self.database.write() as session:
                IntentRepository(session).update(
                    handle.intent_id,
                    handle.owner,
                    owner=ticket["owner"],
                    lease_expires_at=datetime.fromisoformat(ticket["expires_at"]),
                )

    def forget_attempt(self, share: Share, handle: IntentHandle) -> None:
        """Take the plan of an attempt that did not publish back, and what it reserved beside; then its sidecar."""
        rows = handle.plan.get("rows", [])
        plan = {name: value for name, value in handle.plan.items() if name not in {"rows", "references"}}
        if rows:
            kept = min(handle.reserved_bytes, handle.plan["ticket"]["reserved_bytes"])
            with self.database.write() as session:
                projects = ProjectRepository(session)
                projects.lock(handle.project_id)
                if not IntentRepository(session).update(handle.intent_id, handle.owner, plan=plan, reserved_bytes=kept):
                    raise IntentLostError
                projects.apply_delta(handle.project_id, Change(), reserved_bytes=handle.reserved_bytes - kept)
            handle.plan, handle.reserved_bytes = plan, kept
        share.remove(
            handle.project_id,
            [layout.staging(handle.intent_id, SIDECAR_PART), *(row["path"] for row in rows[1:])],
        )
