# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adopt a file that a worker wrote onto the share itself: reserved first, then published. No byte of it is moved.

The intent belongs to the ticket's owner while the worker writes, and to the process that adopts during an attempt.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import IntentOp, IntentState
from noslop_backend.core.errors import BackendError, ConflictError, ContentChangedError, NotFoundError
from noslop_backend.journal import lease, publish
from noslop_backend.journal.intent import IntentHandle, IntentLostError, Request, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.validation import check_hash
from noslop_backend.media.types import HEAD_BYTES, MediaType, generated, intermediate
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import AdoptPlan, Ticket
from noslop_backend.operations.write_file import planned_file
from noslop_backend.repositories import Change, IntentRepository, ProjectRepository
from noslop_backend.schemas import FileCreate
from noslop_backend.share import FileContent, Foreign, Share, layout, open_foreign
from noslop_backend.share.layout import INTERMEDIATE, FileKind


class AdoptFile(publish.WriteOperation[AdoptPlan]):
    """A file that a worker writes. `prepare` makes its ticket; `execute` is one attempt to adopt what it wrote."""

    kind = IntentOp.ADOPT

    def __init__(
        self,
        project_id: str,
        kind: FileKind | None = None,
        details: FileCreate | None = None,
        *,
        key: str | None = None,
        expected_blake3: str | None = None,
    ) -> None:
        size_bytes = (details and details.length) or 0
        arguments = (kind, details.arguments()) if details else ()
        super().__init__(project_id, Request(key, arguments), reserve_bytes=size_bytes)
        self.joins = True
        self.file_kind = kind
        self.details = details
        self.expected_blake3 = expected_blake3

    def prepare(self, session: Session, intent: IntentModel, _now: datetime) -> AdoptPlan:
        """Keep the inputs, give the file its ids, and make the ticket."""
        assert self.details is not None
        publish.reserve_inputs(session, intent, self.details.inputs)
        ticket = Ticket(owner=intent.owner, expires_at=intent.lease_expires_at, reserved_bytes=intent.reserved_bytes)
        return AdoptPlan(file=planned_file(self.file_kind, self.details), ticket=ticket)

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[AdoptPlan]) -> Result:
        """Publish what the worker wrote, or finish what an earlier attempt published."""
        if publish.is_published(share, handle):
            handle.published = True
            return publish.finish_published(journal, share, handle)
        forget_attempt(journal, share, handle)
        staged = layout.staging(handle.intent_id, publish.MAIN_PART)
        with open_foreign(share, handle.project_id, staged) as foreign:
            return self._publish(journal, share, handle, foreign)

    def fail(
        self, journal: Journal, share: Share, handle: IntentHandle[AdoptPlan], error: BaseException
    ) -> Result | None:
        """Return the ticket to its worker, unless the file was published or changed meanwhile."""
        if isinstance(error, ContentChangedError):
            publish.undo(journal, share, handle)
        elif handle.published:
            # It can only be finished: by the next process that asks.
            journal.abandon(handle)
        else:
            hand_back(journal, share, handle)
        if isinstance(error, FileNotFoundError):
            if handle.published:
                raise ConflictError(
                    f"Something vanished from {handle.project_id} while a file was being adopted ({error.filename}). "
                    "Look who removes files there, and adopt it again."
                ) from error
            staged = layout.staging(handle.intent_id, publish.MAIN_PART)
            raise NotFoundError(
                f"There is no {handle.project_id}/{staged} yet. Write it, close it, and adopt it then.",
                ticket_id=handle.intent_id,
            ) from error
        return None

    def _publish(self, journal: Journal, share: Share, handle: IntentHandle[AdoptPlan], foreign: Foreign) -> Result:
        project_id = handle.project_id
        before = foreign.seal()
        content = foreign.hash(lambda: journal.renew(handle))
        check_hash(self.expected_blake3, content.blake3)
        media_type = _media_type(handle, foreign)
        with foreign.stream() as stream:
            inspection = publish.inspect_new(stream, media_type.content_type, handle.plan.file)
        main = publish.main_row(handle, media_type, content)
        mentioned = publish.record_inspection(handle.plan.file, main, inspection)
        rows = publish.stage_rows(share, handle, main)
        publish.record_rows(journal, handle, rows, mentioned)
        for sidecar in rows[1:]:
            share.publish(project_id, [(layout.staging(handle.intent_id, publish.SIDECAR_PART), sidecar.path)])
        foreign.publish(share, project_id, main.path)
        handle.published = True
        share.sync(project_id, os.path.dirname(main.path))
        _check_unchanged(handle, content, before, share.look(project_id, main.path))
        share.remove(project_id, [layout.staging(handle.intent_id, publish.MAIN_PART)])
        return publish.finish_rows(journal, share, handle)

    @staticmethod
    def recover(journal: Journal, share: Share, handle: IntentHandle[AdoptPlan]) -> IntentState:
        """Finish an attempt that was published; give back a ticket that lasts, and undo one that does not."""
        with journal.database.read() as session:
            lasts = not handle.plan.undo and handle.plan.ticket.expires_at > clock(session)
        if not lasts:
            return publish.WriteOperation.recover(journal, share, handle)
        if publish.is_published(share, handle):
            publish.finish_published(journal, share, handle)
            return IntentState.DONE
        hand_back(journal, share, handle)
        return IntentState.OPEN


def _media_type(handle: IntentHandle[AdoptPlan], foreign: Foreign) -> MediaType:
    spec = handle.plan.file
    kind = None if spec.kind is None else FileKind(spec.kind)
    head = foreign.head(HEAD_BYTES)
    if kind in INTERMEDIATE:
        return intermediate(spec.name, kind, head)
    return generated(kind, spec.name, head, foreign.read_at)


def _check_unchanged(
    handle: IntentHandle[AdoptPlan], content: FileContent, before: os.stat_result, after: os.stat_result | None
) -> None:
    """Compare what was hashed with the file before and after.

    Raises:
        ContentChangedError: a process wrote to it meanwhile.
        ConflictError: it vanished.
    """
    if after is None:
        raise ConflictError(
            f"The file of the ticket {handle.intent_id} vanished from {handle.project_id} while it was being adopted. "
            "Adopt it again."
        )
    hashed = (content.inode, content.size_bytes, content.mtime_ns)
    same = all(hashed == (each.st_ino, each.st_size, each.st_mtime_ns) for each in (before, after))
    if not same or not stat.S_ISREG(after.st_mode):
        raise ContentChangedError(
            f"The file of the ticket {handle.intent_id} was written to while it was adopted. Nothing was kept: "
            "reserve anew, write, close, and adopt only then."
        )


def hand_back(journal: Journal, share: Share, handle: IntentHandle[AdoptPlan]) -> None:
    """End an attempt, and return the ticket to its worker, whose file stays."""
    # When this fails the lease of the attempt runs out, and the next attempt or recovery does it.
    with suppress(BackendError, IntentLostError, OSError):
        forget_attempt(journal, share, handle)
        with journal.database.write() as session:
            lease.transfer(session, handle, handle.plan.ticket.owner, handle.plan.ticket.expires_at)


def forget_attempt(journal: Journal, share: Share, handle: IntentHandle[AdoptPlan]) -> None:
    """Remove the rows of an attempt that did not publish from the plan, what it reserved beside, and its sidecar."""
    rows = handle.plan.rows
    if rows:
        kept = min(handle.reserved_bytes, handle.plan.ticket.reserved_bytes)
        plan = handle.plan.model_copy(update={"rows": [], "references": []})
        with journal.database.write() as session:
            projects = ProjectRepository(session)
            projects.lock(handle.project_id)
            if not IntentRepository(session).update(
                handle.intent_id, handle.owner, plan=plan.to_json(), reserved_bytes=kept
            ):
                raise IntentLostError
            projects.apply_delta(handle.project_id, Change(), reserved_bytes=handle.reserved_bytes - kept)
        handle.plan, handle.reserved_bytes = plan, kept
    share.remove(
        handle.project_id,
        [layout.staging(handle.intent_id, publish.SIDECAR_PART), *(row.path for row in rows[1:])],
    )
