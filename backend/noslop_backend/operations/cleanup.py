# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Intermediates are cleaned up: all, by age, or down to a size; never what something needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState, IntentOp, ProjectState
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal.intent import Request
from noslop_backend.models import FileModel
from noslop_backend.operations.purge import BATCH, Removals, check_age
from noslop_backend.repositories import (
    CounterRepository,
    Cursor,
    FileRepository,
    ProjectRepository,
    ReferenceRepository,
)
from noslop_backend.schemas import CleanupReport, FilePublic
from noslop_backend.share.layout import INTERMEDIATE, FileKind

_LISTED = 1000


@dataclass
class _Walk:
    """Where a cleanup is, over several transactions: a repetition of one starts at the same place."""

    kinds: frozenset[FileKind]
    before: datetime | None
    #: So many bytes still have to go; None for all of them.
    surplus: int | None
    cursor: Cursor | None = None
    kept: int = 0
    over: bool = False
    files: list[FilePublic] = field(default_factory=list)


class Cleanup(Removals):
    """The part of the service that removes intermediates."""

    def cleanup_intermediate(
        self,
        project_id: str,
        *,
        kinds: frozenset[FileKind] | None = None,
        older_than: timedelta | None = None,
        keep_bytes: int | None = None,
        dry_run: bool = False,
    ) -> CleanupReport:
        """Remove intermediates for good, oldest first.

        Never one that is an input of a workflow or of a sidecar, or that an open intent works on.

        Args:
            project_id: the project.
            kinds: only these; all three by default.
            older_than: only what is older, by the database's clock.
            keep_bytes: only until no more than this remains.
            dry_run: change nothing, tell what would go.
        """
        wanted = INTERMEDIATE if kinds is None else kinds
        if not wanted or not wanted <= INTERMEDIATE:
            raise InvalidRequestError("Only latents, masks and frames are cleaned up.")
        if keep_bytes is not None and keep_bytes < 0:
            raise InvalidRequestError("A size to keep cannot be negative.")
        check_age(older_than)
        with self.database.read() as session:
            ProjectRepository(session).get(project_id, ProjectState.PRESENT)
            before = None if older_than is None else clock(session) - older_than
            tallies = CounterRepository(session).of(project_id)
        have = sum(row.size_bytes for row in tallies if row.kind in wanted and row.state == FileState.PRESENT)
        walk = _Walk(wanted, before, None if keep_bytes is None else max(0, have - keep_bytes))
        report = CleanupReport(dry_run=dry_run, files_count=0, freed_bytes=0, kept_referenced_count=0)
        while not walk.over:
            if dry_run:
                with self.database.read() as session:
                    rows = self._step(session, project_id, walk)
                    report.freed_bytes += self.freed(session, rows)
                    report.files_count += len(rows)
            else:
                removed = self._remove_step(project_id, walk)
                report.freed_bytes += removed[1]
                report.files_count += removed[0]
        report.kept_referenced_count, report.files = walk.kept, walk.files
        return report

    def _remove_step(self, project_id: str, walk: _Walk) -> tuple[int, int]:
        after: list[_Walk] = []

        def choose(session: Session) -> list[FileModel]:
            # The transaction may be begun again: the walk goes on from where this step began.
            trial = replace(walk, files=list(walk.files))
            rows = self._step(session, project_id, trial)
            after[:] = [trial]
            return rows

        done = self.remove(project_id, IntentOp.CLEANUP, Request(), choose)
        for name, value in vars(after[0]).items():
            setattr(walk, name, value)
        return done.files_count, done.freed_bytes

    def _step(self, session: Session, project_id: str, walk: _Walk) -> list[FileModel]:
        """The next rows to go, and where the walk is after them."""
        rows = FileRepository(session).intermediates(project_id, walk.kinds, walk.before, walk.cursor, BATCH)
        walk.over = len(rows) < BATCH
        needed = ReferenceRepository(session).needed([row.id for row in rows])
        chosen: list[FileModel] = []
        for row in rows:
            if walk.surplus is not None and walk.surplus <= 0:
                walk.over = True
                break
            walk.cursor = Cursor(row.created_at, row.id)
            if row.id in needed or row.intent_id is not None:
                walk.kept += 1
                continue
            if walk.surplus is not None:
                walk.surplus -= row.size_bytes
            chosen.append(row)
        walk.files += [FilePublic.model_validate(row) for row in chosen[: max(0, _LISTED - len(walk.files))]]
        return chosen
