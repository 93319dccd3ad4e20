# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old files, keys and audit rows, and recount: plain functions that timers and the command line call.

A run that would remove much, or that sees a clock it does not trust, stops and asks: a wrong date must not empty a
studio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from noslop_backend.core.database import clock
from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import BackendError, ConfirmationNeededError
from noslop_backend.maintenance import generation
from noslop_backend.models import ProjectModel
from noslop_backend.repositories import (
    RETENTION,
    FileRepository,
    IntentRepository,
    JobRepository,
    ProjectRepository,
    StoreRepository,
)
from noslop_backend.repositories.audit import AuditRepository
from noslop_backend.schemas import RecoveryReport
from noslop_backend.services import ProjectStorage
from noslop_backend.share import CacheTree

KEYS = "keys"
#: A run never removes more than this share of what a project costs without being told to.
LARGEST_SHARE = 0.2
#: Jobs run every few minutes or hours: a longer gap means that the service was away, or that the clock jumped.
LONGEST_GAP = timedelta(days=1)


@dataclass
class RetentionReport:
    """What retention removed, and what a person has to decide."""

    intermediates_count: int = 0
    purged_count: int = 0
    freed_bytes: int = 0
    cache_freed_bytes: int = 0
    #: Rows of the audit log that were older than `audit_days`.
    audit_rows_count: int = 0
    #: Project id to why nothing was removed there.
    asks: dict[str, str] = field(default_factory=dict)
    #: Project id to the error.
    failed: dict[str, str] = field(default_factory=dict)


def expire_intents(storage: ProjectStorage) -> RecoveryReport:
    """Finish or undo intents of processes that died, and remove the answers to old keys.

    After the clock jumped the age of an answer is unknown: none is removed until the clock has run evenly for as long
    as answers are kept. No confirmation is needed, since that costs only rows.
    """
    report = storage.recover()
    generation.advance(storage)
    kept = timedelta(days=storage.settings.key_days)
    with storage.database.write() as session:
        remembered, now = JobRepository(session).get(KEYS), clock(session)
        last, even_since = remembered.last_run_at, now
        if last is not None and timedelta(0) <= now - last <= LONGEST_GAP:
            even_since = datetime.fromisoformat(remembered.state["even_since"])
        if now - even_since >= kept:
            IntentRepository(session).forget(now - kept)
        JobRepository(session).remember(KEYS, now, {"even_since": even_since.isoformat()})
    return report


def repair_counters(storage: ProjectStorage) -> list[str]:
    """Compute all counters anew from the rows, a project at a time. Return what was wrong, a line for each."""
    with storage.database.read() as session:
        projects = ProjectRepository(session).ids(ProjectState.PRESENT, ProjectState.TRASHED)
    drift: list[str] = []
    for project_id in projects:
        with storage.database.write() as session:
            drift += [f"{project_id}: {line}" for line in ProjectRepository(session).update_storage_stats(project_id)]
    with storage.database.write() as session:
        return drift + StoreRepository(session).update_storage_stats()


def apply_retention(storage: ProjectStorage, *, confirmed: bool = False, dry_run: bool = False) -> RetentionReport:
    """Remove intermediates and trash that are older than their project keeps them, and trim the media cache.

    Args:
        storage: the service.
        confirmed: a person looked at it. One answer settles one question: when the clock jumped it is believed, and
            what would be much is still asked about; else much is removed.
        dry_run: remove nothing, report what would go.

    Raises:
        ConfirmationNeededError: the clock is more than a day past the last run, or before it. Nothing was removed.
    """
    with storage.share():
        pass
    with storage.database.read() as session:
        now = clock(session)
        last = JobRepository(session).get(RETENTION).last_run_at
        projects = ProjectRepository(session).ids(ProjectState.PRESENT)
    refusal = None
    if last is not None and not timedelta(0) <= now - last <= LONGEST_GAP:
        refusal = _clock_jumped(now, last)
    if refusal is not None and not confirmed:
        if not dry_run:
            with storage.database.write() as session:
                JobRepository(session).ask(RETENTION, [refusal.message])
        raise refusal
    report = RetentionReport()
    for project_id in projects:
        try:
            _retain(storage, project_id, now, report, confirmed=confirmed and refusal is None, dry_run=dry_run)
        except BackendError as error:
            report.failed[project_id] = error.message
    limit = storage.settings.media_cache_bytes
    if limit is not None:
        cache = CacheTree(storage.settings.media_cache_dir, storage.settings.studio_id)
        report.cache_freed_bytes = cache.trim(limit, dry_run=dry_run)
    if not dry_run:
        report.audit_rows_count = _forget_audit(storage, now)
        with storage.database.write() as session:
            JobRepository(session).remember(RETENTION, clock(session))
            JobRepository(session).ask(RETENTION, [f"{project_id}: {why}" for project_id, why in report.asks.items()])
    return report


def _forget_audit(storage: ProjectStorage, now: datetime) -> int:
    before, forgotten = now - timedelta(days=storage.settings.audit_days), 0
    while True:
        with storage.database.write() as session:
            count = AuditRepository(session).forget(before)
        if not count:
            return forgotten
        forgotten += count


def _clock_jumped(now: datetime, last: datetime) -> ConfirmationNeededError:
    return ConfirmationNeededError(
        f"Retention ran last at {last:%Y-%m-%d %H:%M} UTC, and the database's clock now says {now:%Y-%m-%d %H:%M} UTC. "
        "Nothing was removed, and nothing will be until a person decides. If that time is right (the studio was off, "
        "over a weekend perhaps), run: noslop-backend retention --confirmed (with --dry-run it only shows what would "
        "go). If it is wrong, set the clock.",
        last_run_at=last.isoformat(),
        now=now.isoformat(),
    )


def _retain(
    storage: ProjectStorage,
    project_id: str,
    now: datetime,
    report: RetentionReport,
    *,
    confirmed: bool,
    dry_run: bool,
) -> None:
    with storage.database.read() as session:
        project = ProjectRepository(session).get(project_id, ProjectState.PRESENT)
        in_trash = 0
        if project.trash_days is not None:
            in_trash = FileRepository(session).trashed_bytes(project_id, now - timedelta(days=project.trash_days))
    going = in_trash
    if project.intermediate_days is not None:
        days = timedelta(days=project.intermediate_days)
        plan = storage.cleanup_intermediate(project_id, older_than=days, dry_run=True)
        going += plan.freed_bytes
    if not confirmed and (why := _too_much(project, going)):
        report.asks[project_id] = why
        return
    if dry_run:
        report.freed_bytes += going
        return
    if project.intermediate_days is not None:
        days = timedelta(days=project.intermediate_days)
        cleaned = storage.cleanup_intermediate(project_id, older_than=days)
        report.intermediates_count += cleaned.files_count
        report.freed_bytes += cleaned.freed_bytes
    if project.trash_days is not None:
        purged = storage.purge(project_id, older_than=timedelta(days=project.trash_days))
        report.purged_count += purged.files_count
        report.freed_bytes += purged.freed_bytes


def _too_much(project: ProjectModel, going_bytes: int) -> str:
    if going_bytes <= LARGEST_SHARE * project.used_bytes:
        return ""
    return (
        f"{going_bytes} of {project.used_bytes} bytes would go, more than {LARGEST_SHARE:.0%} of the project. Look at "
        "it, then run: noslop-backend retention --confirmed"
    )
