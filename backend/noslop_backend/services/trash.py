# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put files away, bring them back, remove them for good; and clean up intermediates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState, ProjectState
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal.intent import Result
from noslop_backend.journal.journal import Journal
from noslop_backend.operations.cleanup import Cleanup, Selection
from noslop_backend.operations.move_to_trash import MoveToTrash, RestoreFiles
from noslop_backend.operations.purge import PurgeFiles, check_age, freed_bytes
from noslop_backend.repositories import CounterRepository, FileRepository, ProjectRepository
from noslop_backend.schemas import CleanupReport, FilePublic, RemovalReport
from noslop_backend.share.layout import INTERMEDIATE, FileKind


class Trash:
    """The service of files that go."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.database = journal.database

    def trash(
        self, project_id: str, file_ids: Sequence[str], *, force: bool = False, key: str | None = None
    ) -> RemovalReport:
        """Put files away. They keep their ids and are charged until they are purged.

        Raises:
            ReferencedError: another file needs one of them, and not `force`. With `force` the references stay, for a
                restore.
            InProgressError: an open intent works on one of them.
        """
        return self._report(project_id, self.journal.run(MoveToTrash(project_id, file_ids, force=force, key=key)))

    def restore(self, project_id: str, file_ids: Sequence[str], *, key: str | None = None) -> RemovalReport:
        """Bring files back to where they were."""
        return self._report(project_id, self.journal.run(RestoreFiles(project_id, file_ids, key=key)))

    def purge(
        self,
        project_id: str,
        file_ids: Sequence[str] | None = None,
        *,
        older_than: timedelta | None = None,
        key: str | None = None,
    ) -> RemovalReport:
        """Remove files from the trash for good: those named, all of it, or what has been there for `older_than`.

        A final that was linked to a removed file is charged what that had cost.
        """
        check_age(older_than)
        if file_ids is not None:
            return self._report(project_id, self.journal.run(PurgeFiles(project_id, file_ids, key=key)))
        if key is not None:
            raise InvalidRequestError("A key goes with named files. Emptying the trash twice does no harm.")
        report = RemovalReport()
        while True:
            batch = self.journal.run(PurgeFiles(project_id, None, older_than=older_than))
            if not batch["files_count"]:
                return report
            report.files_count += batch["files_count"]
            report.freed_bytes += batch["freed_bytes"]

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
            dry_run: change nothing, report what would go.
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
            counters = CounterRepository(session).of(project_id)
        have = sum(row.size_bytes for row in counters if row.kind in wanted and row.state == FileState.PRESENT)
        selection = Selection(wanted, before, None if keep_bytes is None else max(0, have - keep_bytes))
        report = CleanupReport(dry_run=dry_run, files_count=0, freed_bytes=0, kept_referenced_count=0)
        while not selection.over:
            if dry_run:
                with self.database.read() as session:
                    rows = selection.next_rows(session, project_id)
                    report.freed_bytes += freed_bytes(session, rows)
                    report.files_count += len(rows)
            else:
                batch = Cleanup(project_id, selection)
                result = self.journal.run(batch)
                selection = batch.after
                report.freed_bytes += result["freed_bytes"]
                report.files_count += result["files_count"]
        report.kept_referenced_count, report.files = selection.kept, selection.files
        return report

    def _report(self, project_id: str, result: Result) -> RemovalReport:
        """Return the report of a removal, with the files that are still there."""
        files: list[FilePublic] = []
        if result["files"]:
            with self.database.read() as session:
                rows = FileRepository(session).some(project_id, result["files"])
                files = [FilePublic.model_validate(row) for row in rows]
        return RemovalReport(files=files, files_count=result["files_count"], freed_bytes=result["freed_bytes"])
