# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move files from one project to another."""

from __future__ import annotations

from collections.abc import Sequence

from noslop_backend.journal.journal import Journal
from noslop_backend.operations.transfer import TransferFiles
from noslop_backend.repositories import FileRepository
from noslop_backend.schemas import FilePublic, MoveReport


class Transfers:
    """The service of files that change their project."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.database = journal.database

    def move_files(
        self, project_id: str, file_ids: Sequence[str], to_project_id: str, *, key: str | None = None
    ) -> MoveReport:
        """Move media and intermediates with their sidecars to another project.

        They keep their ids, names, labels and contents, and get other paths. What they were made from stays behind, and
        is no longer kept for them; what is moved together keeps its references.

        Raises:
            ReferencedError: a file that stays needs one of them.
            InvalidRequestError: one is a version of a workflow or prompt, or the project is the same.
            ConflictError: one of the projects is archived, or the share makes no links between them.
            QuotaExceededError: the other project has no room. A move under way is counted twice in the store's quota.
            InProgressError: an open intent works on one of them.
        """
        result = self.journal.run(TransferFiles(project_id, file_ids, to_project_id, key))
        with self.database.read() as session:
            rows = FileRepository(session).some(to_project_id, result["files"])
            files = [FilePublic.model_validate(row) for row in rows]
        return MoveReport(project_id=to_project_id, files=files, files_count=result["files_count"])
