# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what reconcile observes on the share. Rows come in pages, with as few columns as it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, String, any_, bindparam, delete, insert, or_, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func, select

from noslop_backend.core.enums import FileState
from noslop_backend.models import CounterModel, FileModel, ObservationModel
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

_SLICE = 500
_PAGE = 5000


class RowObservation(NamedTuple):
    """As much of a file's row as a walk compares."""

    id: str
    path: str
    state: str
    size_bytes: int
    mtime_ns: int
    intent_id: str | None


class Observation(NamedTuple):
    """Something on the share that differs from the rows; sizes and times are None for what was removed."""

    path: str
    what: str
    size_bytes: int | None
    mtime_ns: int | None


class ObservationRepository:
    """Statements that compare a walk with rows, and keep what differs."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def rows_at(self, project_id: str, paths: Sequence[str]) -> dict[str, RowObservation]:
        """Return the rows at visible paths, by path."""
        # One value for all paths: SQLAlchemy takes longer to write a list out than SQLite to look its paths up.
        sqlite = self.session.get_bind().dialect.name == "sqlite"
        statement, given = (_AT_JSON, json.dumps(paths)) if sqlite else (_AT_ARRAY, list(paths))
        rows = self.session.connection().execute(statement, {"of_id": project_id, "paths": given}).all()
        return {row[1]: RowObservation._make(row) for row in rows}

    def count_in(self, project_id: str, directory: str, state: FileState) -> int:
        """Return how many rows in a state have their path in a directory, and are not being worked on."""
        statement = select(func.count()).select_from(FileModel).where(*_in(project_id, directory, state))
        return int(self.session.exec(statement).one())

    def rows_in(self, project_id: str, directory: str, state: FileState) -> Iterator[RowObservation]:
        """Return the rows that `count_in` counts, in the order of their ids."""
        last = ""
        while True:
            statement = select_columns(*_COLUMNS).where(*_in(project_id, directory, state), col(FileModel.id) > last)
            page = self.session.connection().execute(statement.order_by(col(FileModel.id)).limit(_PAGE)).all()
            yield from (RowObservation(*row) for row in page)
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def registered_count(self, project_id: str) -> int:
        """Return how many files of a project should be on the share."""
        count = self.session.exec(
            select(func.coalesce(func.sum(col(CounterModel.files_count)), 0)).where(
                CounterModel.project_id == project_id,
                col(CounterModel.state).in_([FileState.PRESENT, FileState.TRASHED]),
            )
        ).one()
        return int(count)

    def note(self, project_id: str, observations: Sequence[Observation], now: datetime, started: datetime) -> None:
        """Record what was observed. The same thing counts once a run, and something else counts from one again."""
        for start in range(0, len(observations), _SLICE):
            some = observations[start : start + _SLICE]
            there = {
                row.path: row
                for row in self.session.exec(
                    select(ObservationModel).where(
                        ObservationModel.project_id == project_id,
                        col(ObservationModel.path).in_([each.path for each in some]),
                    )
                )
            }
            fresh: list[dict[str, Any]] = []
            for each in some:
                row = there.get(each.path)
                if row is None:
                    fresh.append(
                        {
                            "project_id": project_id,
                            **each._asdict(),
                            "times_seen": 1,
                            "first_seen_at": now,
                            "last_seen_at": now,
                        }
                    )
                    continue
                if (row.what, row.size_bytes, row.mtime_ns) != each[1:] or row.last_seen_at > now:
                    # Something else, or the clock went back since: it is not known for how long it has been so.
                    row.what, row.size_bytes, row.mtime_ns = each[1:]
                    row.times_seen, row.first_seen_at = 1, now
                elif row.last_seen_at < started:
                    row.times_seen += 1
                row.last_seen_at = now
                self.session.add(row)
            self.session.flush()
            if fresh:
                self.session.connection().execute(insert(ObservationModel), fresh)

    def forget_unseen(self, project_id: str, started: datetime, now: datetime, marks: Sequence[str]) -> None:
        """Forget what this run did not observe again; what was marked stays. No observation is later than `now`."""
        self.session.exec(
            delete(ObservationModel).where(
                col(ObservationModel.project_id) == project_id,
                or_(
                    col(ObservationModel.last_seen_at) < started,
                    col(ObservationModel.last_seen_at) > now,
                ),
                col(ObservationModel.what).not_in(marks),
            )
        )

    def confirmed(
        self, project_id: str, apart: timedelta, marks: Sequence[str], after: str = "", limit: int = 200
    ) -> list[ObservationModel]:
        """Return what two runs that lie so far apart have observed, in the order of the paths."""
        return list(islice(self._looked_at(project_id, apart, marks, after, limit, confirmed=True), limit))

    def waiting(self, project_id: str, apart: timedelta, marks: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """Return path and kind of what no two runs so far apart have observed, in the order of the paths."""
        rows = self._looked_at(project_id, apart, marks, "", limit, confirmed=False)
        return [(row.path, row.what) for row in islice(rows, limit)]

    def _looked_at(
        self, project_id: str, apart: timedelta, marks: Sequence[str], after: str, page: int, *, confirmed: bool
    ) -> Iterator[ObservationModel]:
        statement = (
            select(ObservationModel)
            .where(
                ObservationModel.project_id == project_id,
                col(ObservationModel.what).not_in(marks),
                ObservationModel.path > after,
            )
            .order_by(col(ObservationModel.path))
        )
        if confirmed:
            statement = statement.where(ObservationModel.times_seen >= 2)
        for row in self.session.exec(statement.execution_options(yield_per=page)):
            # Not in SQL: intervals are another thing on each database.
            if (row.times_seen >= 2 and row.last_seen_at - row.first_seen_at >= apart) == confirmed:
                yield row

    def count(self, project_id: str, what: str) -> int:
        """Return how many observations of a kind a project has."""
        return int(
            self.session.exec(
                select(func.count())
                .select_from(ObservationModel)
                .where(ObservationModel.project_id == project_id, ObservationModel.what == what)
            ).one()
        )

    def marked(self, project_id: str, what: str, limit: int) -> list[str]:
        """Return the paths that have a mark."""
        return list(
            self.session.exec(
                select(ObservationModel.path)
                .where(ObservationModel.project_id == project_id, ObservationModel.what == what)
                .order_by(col(ObservationModel.path))
                .limit(limit)
            )
        )

    def resolve(self, project_id: str, path: str) -> None:
        """Forget an observation that was acted upon."""
        self.session.exec(
            delete(ObservationModel).where(
                col(ObservationModel.project_id) == project_id, col(ObservationModel.path) == path
            )
        )

    def mark(self, project_id: str, path: str, what: str) -> None:
        """Make a lasting mark of an observation."""
        self.session.exec(
            update(ObservationModel)
            .where(col(ObservationModel.project_id) == project_id, col(ObservationModel.path) == path)
            .values(what=what)
            .execution_options(synchronize_session=False)
        )


_COLUMNS = (
    col(FileModel.id),
    col(FileModel.path),
    col(FileModel.state),
    col(FileModel.size_bytes),
    col(FileModel.mtime_ns),
    col(FileModel.intent_id),
)


_AT = select_columns(*_COLUMNS).where(col(FileModel.project_id) == bindparam("of_id"))
_AT_JSON = _AT.where(
    col(FileModel.path).in_(select_columns(func.json_each(bindparam("paths")).table_valued("value").c.value))
)
_AT_ARRAY = _AT.where(col(FileModel.path) == any_(bindparam("paths", type_=ARRAY(String))))
_KIND = {directory: kind for kind, directory in layout.DIRECTORY.items()}


def _in(project_id: str, directory: str, state: FileState) -> tuple[Any, ...]:
    # The kinds are what an index finds. No name of a directory has a character that LIKE takes for another.
    return (
        col(FileModel.kind).in_([_KIND[directory], FileKind.SIDECAR]),
        FileModel.project_id == project_id,
        FileModel.state == state,
        col(FileModel.path).like(f"{directory}/%"),
        col(FileModel.intent_id).is_(None),
    )
