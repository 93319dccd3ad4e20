# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Intents whose lease has run out are finished or released, by whoever comes by."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from noslop_backend import layout
from noslop_backend.crud import IntentCRUD, ProjectCRUD
from noslop_backend.database import clock
from noslop_backend.errors import BackendError
from noslop_backend.files import Share
from noslop_backend.models import IntentOp, IntentState, ProjectState, RecoveryReport

from .adoption import Adoption
from .begun import Begun, LostError
from .imports import recover_import
from .intents import left_s
from .projects import Projects
from .trash import Trash
from .writes import MAIN_PART, RECOVERED_PART, SIDECAR_PART


class Recovery(Projects, Adoption, Trash):
    """The part of the service that cleans up after whoever died."""

    def recover(self, *, project_id: str | None = None, limit: int = 1000) -> RecoveryReport:
        """Finish or release up to `limit` intents whose lease has run out, and sweep `.staging`."""
        report = RecoveryReport()
        with self.share():
            pass
        self._shorten()
        with self.database.read() as session:
            waiting = IntentCRUD(session).expired(clock(session), project_id, limit)
        for intent_id in waiting:
            try:
                became = self.recover_one(intent_id)
            except (BackendError, OSError) as error:
                report.failed[intent_id] = str(error)
                continue
            if became == IntentState.DONE:
                report.finished.append(intent_id)
            elif became == IntentState.RELEASED:
                report.released.append(intent_id)
        with self.database.read() as session:
            projects = ProjectCRUD(session).ids(ProjectState.PRESENT, ProjectState.TRASHED)
        for project in projects if project_id is None else [one for one in projects if one == project_id]:
            report.swept += self._sweep(project)
        return report

    def _shorten(self) -> None:
        """Bring leases back that end later than their length from now: the clock went back since they began.

        Who lives renews such a lease in time; who died would keep it for as long as the clock went back.
        """
        with self.database.read() as session:
            now = clock(session)
            running = IntentCRUD(session).running(now)
        for intent in running:
            longest = now + timedelta(seconds=left_s(intent, now))
            if longest >= intent.lease_expires_at:
                continue
            plan, ticket = intent.plan, intent.plan.get("ticket")
            if ticket is not None and ticket["owner"] == intent.owner:
                plan = plan | {"ticket": ticket | {"expires_at": longest.isoformat()}}
            with self.database.write() as session:
                IntentCRUD(session).shorten(intent, longest, plan)

    def _sweep(self, project_id: str) -> list[str]:
        """Remove from `.staging` what belongs to no open intent.

        The row comes before the file, so nobody is just beginning.
        """
        with self.share() as share:
            names = share.names(project_id, layout.STAGING)
            owners = {name: intent for name in names if (intent := layout.staging_intent(name))}
            with self.database.read() as session:
                alive = IntentCRUD(session).open_among(set(owners.values())) if owners else set()
            swept = [f"{layout.STAGING}/{name}" for name, intent in owners.items() if intent not in alive]
            share.remove(project_id, swept)
        return [f"{project_id}/{name}" for name in swept]

    def recover_one(self, intent_id: str) -> IntentState | None:
        """Finish or release one intent whose lease has run out.

        None when somebody else was quicker, or it still runs.
        """
        with self.share() as share:
            begun = self._claim(intent_id)
            if begun is None:
                return None
            try:
                return self._recover(share, begun)
            except LostError:
                return None
            except BaseException:
                self.abandon(begun)
                raise

    def _claim(self, intent_id: str) -> Begun | None:
        owner = secrets.token_hex(16)
        with self.database.write() as session:
            intents, now = IntentCRUD(session), clock(session)
            until = now + timedelta(seconds=self.settings.lease_s)
            if not intents.claim(intent_id, owner, now, until):
                return None
            intent = intents.get(intent_id)
            assert intent is not None
            return Begun(
                intent_id,
                intent.project_id,
                owner,
                IntentOp(intent.op),
                intent.created_at,
                intent.plan,
                intent.reserved_bytes,
            )

    def _recover(self, share: Share, begun: Begun) -> IntentState:
        carry: dict[IntentOp, Any] = {
            IntentOp.CREATE_PROJECT: self.carry_creation,
            IntentOp.UPDATE_PROJECT: self.carry_change,
            IntentOp.PURGE_PROJECT: self.carry_project_removal,
            IntentOp.TRASH: self.carry_moves,
            IntentOp.RESTORE: self.carry_moves,
            IntentOp.PURGE: self.carry_removal,
            IntentOp.CLEANUP: self.carry_removal,
        }
        if begun.op in carry:
            carry[begun.op](share, begun)
            return IntentState.DONE
        if begun.op == IntentOp.IMPORT_PROJECT:
            return recover_import(self, share, begun)
        if begun.op == IntentOp.ADOPT and self._ticket_lasts(begun):
            return self._recover_attempt(share, begun)
        # Names in .staging go first: from then on nobody can publish, and what has its final name by now was whole.
        parts = (MAIN_PART, SIDECAR_PART, RECOVERED_PART)
        share.remove(begun.project_id, [layout.staging(begun.intent_id, part) for part in parts])
        if self.published(share, begun):
            self.finish_published(share, begun)
            return IntentState.DONE
        with self.database.write() as session:
            if not IntentCRUD(session).update(begun.intent_id, begun.owner, plan=begun.plan | {"undo": True}):
                raise LostError
        self.remove_traces(share, begun)
        if not self.release(begun):
            raise LostError
        return IntentState.RELEASED

    def _ticket_lasts(self, begun: Begun) -> bool:
        if begun.plan.get("undo"):
            return False
        with self.database.read() as session:
            return datetime.fromisoformat(begun.plan["ticket"]["expires_at"]) > clock(session)

    def _recover_attempt(self, share: Share, begun: Begun) -> IntentState:
        """Somebody died while adopting, and the ticket still lasts.

        Finish what was published, else give the ticket back.
        """
        if self.published(share, begun):
            self.finish_published(share, begun)
            return IntentState.DONE
        self.hand_back(share, begun)
        return IntentState.OPEN
