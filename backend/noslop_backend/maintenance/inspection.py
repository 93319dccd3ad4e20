# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect files of which nothing is recorded: those of versions before, and those that were saved unread.

Owns: which files, and in which order. Each is read in the confined child, and recorded by one operation of its own, so
the service may go on meanwhile, and a run that was stopped continues where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from noslop_backend.core.errors import BackendError
from noslop_backend.media import probe
from noslop_backend.media.facts import Facts
from noslop_backend.models import FileModel
from noslop_backend.repositories import FileRepository, ProjectRepository
from noslop_backend.services import ProjectStorage

_ROWS_AT_ONCE = 500
#: So many paths of a report are kept; the rest is counted.
LISTED = 1000


@dataclass
class InspectionReport:
    """How many files were inspected, of how many something was recorded, and which could not be."""

    inspected_count: int = 0
    recorded_count: int = 0
    failed_count: int = 0
    #: Path, with the project in front, to why.
    failed: dict[str, str] = field(default_factory=dict)

    def fail(self, row: FileModel, why: str) -> None:
        """Count a file of which nothing could be recorded, and list it while there is room."""
        self.failed_count += 1
        if len(self.failed) < LISTED:
            self.failed[f"{row.project_id}/{row.path}"] = why


def inspect_files(core: ProjectStorage, project_id: str | None = None) -> InspectionReport:
    """Inspect present files of which nothing is recorded, and record what they say.

    Args:
        core: the service.
        project_id: only files of this project.

    Raises:
        NotFoundError: there is no such project.
        ShareUnavailableError: the share does not answer.
    """
    report, last = InspectionReport(), ""
    if project_id is not None:
        with core.database.read() as session:
            ProjectRepository(session).get(project_id)
    while True:
        with core.database.read() as session:
            rows = FileRepository(session).uninspected(last, _ROWS_AT_ONCE, project_id)
        if not rows:
            return report
        for row in rows:
            _inspect(core, row, report)
        last = rows[-1].id


def _inspect(core: ProjectStorage, row: FileModel, report: InspectionReport) -> None:
    report.inspected_count += 1
    with core.share() as share:
        try:
            with share.open(row.project_id, row.path) as stream:
                inspection = probe.inspect(stream, row.content_type, probe.PATIENT_INSPECTION)
        except FileNotFoundError:
            report.fail(row, "it was removed from the share. Run `noslop-backend reconcile`.")
            return
    if inspection.unread:
        report.fail(row, f"it {inspection.unread}. Run this again when the host is less busy.")
        return
    if not inspection.texts and inspection.facts == Facts():
        return
    try:
        core.record_inspection(row.project_id, row.id, inspection)
    except BackendError as error:
        report.fail(row, error.message)
    else:
        report.recorded_count += 1
