# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare one directory with its rows, and note what differs. Nothing is applied here."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from datetime import datetime

from noslop_backend.core.database import Database, clock
from noslop_backend.core.enums import FileState
from noslop_backend.maintenance.reconcile.report import Finding, ReconcileReport, What
from noslop_backend.repositories.observations import Observation, ObservationRepository, RowObservation
from noslop_backend.share import Share, layout, scan
from noslop_backend.share.litter import Litter


def compare_directory(
    database: Database,
    share: Share,
    project_id: str,
    place: str,
    *,
    started: datetime,
    litter: Litter,
    report: ReconcileReport,
    alive: Callable[[], None],
) -> None:
    """Walk one of `walk.PLACES` of a project and note what differs from the rows.

    Args:
        database: the database.
        share: the share.
        project_id: the project.
        place: the directory.
        started: when this run began, by the database's clock: a thing is counted once a run.
        litter: names to pass over.
        report: where misplaced names go, and the number of files.
        alive: called now and then; says that this run lives.

    Raises:
        ShareUnavailableError: the listing failed. What was noted by then is only noted.
    """
    state = FileState.TRASHED if place.startswith(layout.TRASH) else FileState.PRESENT
    directory = place.removeprefix(f"{layout.TRASH}/")
    # Eight bytes for each file, so that a million fit anywhere: two names with one hash are one in 10^7 such
    # directories.
    names_there = array("q")
    matched = 0
    for piece in scan.pieces(share, project_id, place, litter=litter):
        for name in piece.misplaced:
            report.add(
                Finding(
                    project_id, f"{place}/{name}", "stranger", "it is not an ordinary file, or its name is not UTF-8"
                )
            )
        names_there.extend(hash(entry.name) for entry in piece.entries)
        report.files_count += len(piece.entries)
        with database.read() as session:
            rows = ObservationRepository(session).rows_at(
                project_id, [f"{directory}/{entry.name}" for entry in piece.entries]
            )
        noted = []
        for entry in piece.entries:
            row = rows.get(f"{directory}/{entry.name}")
            what = _compare(row, entry, state)
            matched += row is not None and row.state == state and row.intent_id is None
            if what is not None:
                noted.append(Observation(f"{place}/{entry.name}", what, entry.size_bytes, entry.mtime_ns))
        _note(database, project_id, noted, started)
        alive()
    absent: list[str] = []
    with database.read() as session:
        observations = ObservationRepository(session)
        if observations.count_in(project_id, directory, state) > matched:
            there = set(names_there)
            names = (row.path.rpartition("/")[2] for row in observations.rows_in(project_id, directory, state))
            absent = [name for name in names if hash(name) not in there]
    # A second look: the row may have come after the walk had passed its file.
    gone = [f"{place}/{name}" for name in absent if share.look(project_id, f"{place}/{name}") is None]
    _note(database, project_id, [Observation(path, What.REMOVED, None, None) for path in gone], started)
    alive()


def _compare(row: RowObservation | None, entry: scan.Entry, state: FileState) -> What | None:
    """Return how a file differs from its row; None where it does not."""
    if row is None:
        return What.ADDED
    if row.intent_id is not None or row.state == FileState.PURGING:
        # An operation is moving or removing it just now.
        return None
    if row.state == FileState.MISSING:
        return What.BACK
    if row.state != state:
        # It lies where its row does not say.
        return What.ADDED
    return What.CHANGED if (row.size_bytes, row.mtime_ns) != (entry.size_bytes, entry.mtime_ns) else None


def _note(database: Database, project_id: str, noted: list[Observation], started: datetime) -> None:
    if noted:
        with database.write() as session:
            ObservationRepository(session).note(project_id, noted, clock(session), started)
