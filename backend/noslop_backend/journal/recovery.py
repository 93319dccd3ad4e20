# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Intents whose lease has run out are finished or released, by whoever comes by."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from noslop_backend.core.database import clock
from noslop_backend.core.enums import IntentOp, IntentState, ProjectState
from noslop_backend.core.errors import BackendError
from noslop_backend.journal.intent import IntentHandle, IntentLostError
from noslop_backend.journal.journal import left_s
from noslop_backend.journal.publish import MAIN_PART, RECOVERED_PART, SIDECAR_PART
from noslop_backend.operations.adopt_file import Adoption
from noslop_backend.operations.import_project import recover_import
from noslop_backend.operations.move_to_trash import Trash
from noslop_backend.operations.projects import Projects
from noslop_backend.repositories import IntentRepository, ProjectRepository
from noslop_backend.schemas import RecoveryReport
from noslop_backend.share import Share, layout


class Recovery(Projects, Adoption, Trash):
    """The part of the service that cleans up after whoever died."""

    def recover(self, *, project_id: str | None = None, limit: int = 1000) -> RecoveryReport:
        """Finish or release up to `limit` intents whose lease has run out, and sweep `.staging`."""
        report = RecoveryReport()
        with self.share():
            pass
        self._shorten()
        with self.database.read() as session:
            waiting = IntentRepository(session).expired(clock(session), project_id, limit)
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
            projects = ProjectRepository(session).ids(ProjectState.PRESENT, ProjectState.TRASHED)
        for project in projects if project_id is None else [one for one in projects if one == project_id]:
            report.swept += self._sweep(project)
        return report

    def _shorten(self) -> None:
        """Bring leases back that end later than their length from now: the clock went back since they began.

        Who lives renews such a lease in time; who died would keep it for as long as the clock went back.
        """
        with self.database.read() as session:
            now = clock(session)
            running = IntentRepository(session).running(now)
        for intent in running:
            longest = now + timedelta(seconds=left_s(intent, now))
            if longest >= intent.lease_expires_at:
                continue
            plan, ticket = intent.plan, intent.plan.get("ticket")
            if ticket is not None and ticket["owner"] == intent.owner:
                plan = plan | {"ticket": ticket | {"expires_at": longest.isoformat()}}
            with self.database.write() as session:
                IntentRepository(session).shorten(intent, longest, plan)

    def _sweep(self, project_id: str) -> list[str]:
        """Remove from `.staging` what belongs to no open intent.

        The row comes before the file, so nobody is just beginning.
        """
        with self.share() as share:
            names = share.names(project_id, layout.STAGING)
            owners = {name: intent for name in names if (intent := layout.staging_intent(name))}
            with self.database.read() as session:
                alive = IntentRepository(session).open_among(set(owners.values())) if owners else set()
            swept = [f"{layout.STAGING}/{name}" for name, intent in owners.items() if intent not in alive]
            share.remove(project_id, swept)
        return [f"{project_id}/{name}" for name in swept]

    def recover_one(self, intent_id: str) -> IntentState | None:
        """Finish or release one intent whose lease has run out.

        None when somebody else was quicker, or it still runs.
        """
        with self.share() as share:
            handle = self._claim(intent_id)
            if handle is None:
                return None
            try:
                return self._recover(share, handle)
            except IntentLostError:
                return None
            except BaseException:
                self.abandon(handle)
                raise

    def _claim(self, intent_id: str) -> IntentHandle | None:
        owner = secrets.token_hex(16)
        with self.database.write() as session:
            intents, now = IntentRepository(session), clock(session)
            until = now + timedelta(seconds=self.settings.lease_s)
            if not intents.claim(intent_id, owner, now, until):
                return None
            intent = intents.get(intent_id)
            assert intent is not None
            return IntentHandle(
                intent_id,
                intent.project_id,
                owner,
                IntentOp(intent.op),
                intent.created_at,
                intent.plan,
                intent.reserved_bytes,
            )

    def _recover(self, share: Share, handle: IntentHandle) -> IntentState:
        carry: dict[IntentOp, Any] = {
            IntentOp.CREATE_PROJECT: self.execute_creation,
            IntentOp.UPDATE_PROJECT: self.execute_update,
            IntentOp.PURGE_PROJECT: self.execute_project_purge,
            IntentOp.TRASH: self.execute_moves,
            IntentOp.RESTORE: self.execute_moves,
            IntentOp.PURGE: self.execute_removal,
            IntentOp.CLEANUP: self.execute_removal,
        }
        if handle.op in carry:
            carry[handle.op](share, handle)
            return IntentState.DONE
        if handle.op == IntentOp.IMPORT_PROJECT:
            return recover_import(self, share, handle)
        if handle.op == IntentOp.ADOPT and self._ticket_lasts(handle):
            return self._recover_attempt(share, handle)
        # Names in .staging go first: from then on nobody can publish, and what has its final name by now was whole.
        parts = (MAIN_PART, SIDECAR_PART, RECOVERED_PART)
        share.remove(handle.project_id, [layout.staging(handle.intent_id, part) for part in parts])
        if self.published(share, handle):
            self.finish_published(share, handle)
            return IntentState.DONE
        with self.database.write() as session:
            if not IntentRepository(session).update(handle.intent_id, handle.owner, plan=handle.plan | {"undo": True}):
                raise IntentLostError
        self.remove_traces(share, handle)
        if not self.release(handle):
            raise IntentLostError
        return IntentState.RELEASED

    def _ticket_lasts(self, handle: IntentHandle) -> bool:
        if handle.plan.get("undo"):
            return False
        with self.database.read() as session:
            return datetime.fromisoformat(handle.plan["ticket"]["expires_at"]) > clock(session)

    def _recover_attempt(self, share: Share, handle: IntentHandle) -> IntentState:
        """Somebody died while adopting, and the ticket still lasts.

        Finish what was published, else give the ticket back.
        """
        if self.published(share, handle):
            self.finish_published(share, handle)
            return IntentState.DONE
        self.hand_back(share, handle)
        return IntentState.OPEN
