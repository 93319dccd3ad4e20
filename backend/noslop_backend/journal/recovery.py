# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recover every intent whose lease has run out, and remove from `.staging` what belongs to none."""

from __future__ import annotations

from noslop_backend.core.database import clock
from noslop_backend.core.enums import IntentState, ProjectState
from noslop_backend.core.errors import BackendError
from noslop_backend.journal import lease
from noslop_backend.journal.journal import Journal
from noslop_backend.repositories import IntentRepository, ProjectRepository
from noslop_backend.schemas import RecoveryReport
from noslop_backend.share import layout


def recover(journal: Journal, *, project_id: str | None = None, limit: int = 1000) -> RecoveryReport:
    """Finish or release up to `limit` intents whose lease has run out, and clean `.staging`.

    Args:
        journal: the journal.
        project_id: only of this project.
        limit: so many at once.

    Raises:
        ShareUnavailableError: the share is not there, or is another one.
    """
    report = RecoveryReport()
    with journal.context.share():
        pass
    _shorten_leases(journal, report)
    with journal.database.read() as session:
        waiting = IntentRepository(session).expired(clock(session), project_id, limit)
    for intent_id in waiting:
        try:
            state = journal.recover_one(intent_id)
        except (BackendError, OSError) as error:
            report.failed[intent_id] = str(error)
            continue
        if state == IntentState.DONE:
            report.finished.append(intent_id)
        elif state == IntentState.RELEASED:
            report.released.append(intent_id)
    with journal.database.read() as session:
        projects = ProjectRepository(session).ids(ProjectState.PRESENT, ProjectState.TRASHED)
    for project in projects if project_id is None else [one for one in projects if one == project_id]:
        report.swept += _clean_staging(journal, project)
    return report


def _shorten_leases(journal: Journal, report: RecoveryReport) -> None:
    with journal.database.read() as session:
        now = clock(session)
        running = IntentRepository(session).running(now)
    for intent in (each for each in running if lease.is_too_long(each, now)):
        try:
            with journal.database.write() as session:
                lease.shorten(session, intent, now)
        except BackendError as error:
            report.failed[intent.id] = str(error)


def _clean_staging(journal: Journal, project_id: str) -> list[str]:
    """Remove from `.staging` what belongs to no open intent.

    The row comes before the file, so no write is just beginning.
    """
    with journal.context.share() as share:
        names = share.names(project_id, layout.STAGING)
        owners = {name: intent for name in names if (intent := layout.staging_intent(name))}
        with journal.database.read() as session:
            alive = IntentRepository(session).open_among(set(owners.values())) if owners else set()
        removed = [f"{layout.STAGING}/{name}" for name, intent in owners.items() if intent not in alive]
        share.remove(project_id, removed)
    return [f"{project_id}/{name}" for name in removed]
