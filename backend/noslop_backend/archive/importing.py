# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import a project from an archive: all of it or nothing.

Files stream into `.imports/<intent>/<project>` beside the projects, and their rows into a project that no reader sees
yet. When every checksum is right the whole directory becomes a project by one rename, and one transaction shows its
rows. Killed before the rename, recovery removes everything; after it, recovery shows the project.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO, cast

from blake3 import blake3
from sqlmodel import Session

from noslop_backend.archive import manifest
from noslop_backend.archive.extract import Receiver, no_room
from noslop_backend.archive.manifest_index import ManifestIndex
from noslop_backend.archive.tar import ArchiveError, TarReader
from noslop_backend.core.errors import StorageFullError
from noslop_backend.journal.intent import IntentHandle, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.models import ProjectModel
from noslop_backend.models.plans import ImportPlan
from noslop_backend.operations.import_project import ImportProject
from noslop_backend.repositories import IntentRepository
from noslop_backend.repositories.bulk import BulkRepository
from noslop_backend.schemas import ProjectPublic
from noslop_backend.services import ProjectStorage
from noslop_backend.share import Share, hidden_dirs, layout

#: Lines, not files: an archive of ten million files has a smaller manifest.
MANIFEST_LIMIT_BYTES = 16 * 1024**3


@dataclass
class ImportReport:
    """What was imported."""

    project: ProjectPublic
    files_count: int
    documents_count: int
    total_bytes: int
    #: Ids that were taken here, so that new ones had to be given; the project's own id is one of them.
    renamed_count: int


def import_from(storage: ProjectStorage, stream: BinaryIO) -> ImportReport:
    """Make a project of an archive. It has the ids that it had, where those are free, and new ones elsewhere.

    Args:
        storage: the service.
        stream: the archive; it is read once, from its beginning to its end.

    Raises:
        ArchiveError: the archive is damaged, or says what is not true. Nothing of it was kept.
        QuotaExceededError, StorageFullError: there is no room for it. Nothing was written.
        LeaseLostError: it gave no sign of life for so long that another process undid it.
    """
    journal = storage.journal
    with tempfile.TemporaryDirectory() as directory, journal.context.share() as share:
        _remove_leftovers(journal, share)
        reader = TarReader(stream)
        rows = _manifest(reader, Path(directory))
        with rows, ManifestIndex(Path(directory)) as index:
            rows.seek(0)
            index.add_lines(manifest.read(rows))
            _rename_clashing(journal, share, index)
            total, (size, free) = index.project.total_bytes, share.disk()
            if total > free:
                raise StorageFullError(
                    f"The archive holds {total} bytes, and the disk below the share has {free} free. Nothing was "
                    "imported.",
                    used_bytes=size - free,
                    asked_bytes=total,
                    free_bytes=free,
                )
            operation = _ImportArchive(index, reader, rows)
            handle = journal.begin(operation)
            assert isinstance(handle, IntentHandle)
            result = journal.execute(share, operation, handle)
    first = index.project
    project = ProjectPublic.model_validate(result["project"])
    return ImportReport(project, first.files_count, first.documents_count, first.total_bytes, index.renamed)


def _remove_leftovers(journal: Journal, share: Share) -> None:
    """Remove directories of imports that have ended. A running one has its row since before its directory was made."""
    with hidden_dirs.opened(share, hidden_dirs.IMPORTS) as place:
        leftovers = (
            {name for name in hidden_dirs.names(place) if layout.INTENT_ID.fullmatch(name)}
            if place is not None
            else set()
        )
    if leftovers:
        with journal.database.read() as session:
            leftovers -= IntentRepository(session).open_among(leftovers)
        for intent_id in sorted(leftovers):
            hidden_dirs.clear(share, intent_id)


def _manifest(reader: TarReader, directory: Path) -> IO[bytes]:
    """Copy the manifest out of an archive and compare it with its checksum. Return the open copy."""
    if not reader.next() or reader.name != manifest.MANIFEST:
        raise ArchiveError(
            f"This is no exported project: it does not begin with {manifest.MANIFEST}, but with "
            f"{reader.name or 'nothing'!r}. Name a file that `noslop-backend export` wrote, as it was written (not "
            "compressed)."
        )
    free = shutil.disk_usage(directory).free
    if reader.size_bytes > min(MANIFEST_LIMIT_BYTES, free):
        raise ArchiveError(
            f"The archive's manifest is to have {reader.size_bytes} bytes; at most {min(MANIFEST_LIMIT_BYTES, free)} "
            f"fit here ({directory.parent} has {free} free). Nothing was imported."
        )
    # Closed by who calls, or below.
    rows, hasher = tempfile.TemporaryFile(dir=directory), blake3()  # noqa: SIM115 - see above
    try:
        for piece in reader.pieces():
            rows.write(piece)
            hasher.update(piece)
        if not reader.next() or reader.name != manifest.CHECKSUM or reader.size_bytes > 1024:
            raise ArchiveError(
                f"The archive has no {manifest.CHECKSUM} after its manifest. It was not made by an export."
            )
        recorded = b"".join(reader.pieces()).split(b" ")[0].decode("ascii", "replace")
        if recorded != hasher.hexdigest():
            raise ArchiveError(
                f"The archive's manifest is damaged: its BLAKE3 is {hasher.hexdigest()}, and {recorded} was recorded. "
                "Copy the archive again, or export it again."
            )
    except BaseException:
        rows.close()
        raise
    return cast("IO[bytes]", rows)


def _rename_clashing(journal: Journal, share: Share, index: ManifestIndex) -> None:
    """Replace ids of the archive that this studio has given to something else."""
    with journal.database.read() as session:
        bulk = BulkRepository(session)
        while bulk.registered_project(index.new_project_id) or hidden_dirs.has_project(share, index.new_project_id):
            index.rename_project()
        for some in index.ids("file"):
            index.rename("file", bulk.registered_ids(some))
        for some in index.ids("document"):
            index.rename("document", bulk.registered_documents(some))


class _ImportArchive(ImportProject):
    """An import of an archive whose manifest was checked."""

    def __init__(self, index: ManifestIndex, reader: TarReader, rows: IO[bytes]) -> None:
        first = index.project
        now = first.created_at
        project = ProjectModel(
            id=index.new_project_id,
            name=first.name,
            description=first.description,
            status=first.status,
            settings=first.settings,
            folder_path=index.new_project_id,
            quota_bytes=first.quota_bytes,
            intermediate_days=first.intermediate_days,
            trash_days=first.trash_days,
            revision=first.revision,
            created_at=first.created_at,
            updated_at=now,
        )
        super().__init__(project, first.id, first.total_bytes)
        self._index, self._reader, self._rows = index, reader, rows

    def enter(self, session: Session, now: datetime) -> None:
        """Insert the project, if its own quota has room for its files."""
        first = self._index.project
        if first.quota_bytes is not None and first.total_bytes > first.quota_bytes:
            raise no_room(first, 0, first.total_bytes)
        super().enter(session, now)

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[ImportPlan]) -> Result:
        """Receive the files of the archive, and publish them as a whole."""
        return Receiver(journal, share, self._index, handle, reader=self._reader, rows=self._rows).run()
