# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep counters by kind and state, so that statistics never count rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session, col, select

from noslop_backend.core.enums import FileState
from noslop_backend.models import CounterModel, FileModel
from noslop_backend.share.layout import MEDIA, FileKind


@dataclass
class Change:
    """Sum up what rows that are added, removed or changed mean for the counters of one project."""

    cells: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def add(self, rows: Iterable[FileModel], sign: int = 1) -> Change:
        """Count rows in, or out with sign -1, as they are now."""
        for row in rows:
            self.count(row.kind, row.state, sign, sign * row.size_bytes, sign * row.charged_bytes)
        return self

    def count(self, kind: str, state: str, files: int, size_bytes: int, charged_bytes: int) -> None:
        """Count so many files of so many bytes."""
        cell = self.cells.setdefault((kind, state), [0, 0, 0])
        for place, amount in enumerate((files, size_bytes, charged_bytes)):
            cell[place] += amount

    @property
    def charged_bytes(self) -> int:
        """Return what the project costs more, in bytes."""
        return sum(cell[2] for cell in self.cells.values())

    @property
    def media(self) -> int:
        """Return how many present media files there are more."""
        return sum(
            cell[0]
            for (kind, state), cell in self.cells.items()
            if state == FileState.PRESENT and FileKind(kind) in MEDIA
        )


class CounterRepository:
    """Statements on `tally`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def apply(self, project_id: str, change: Change) -> None:
        """Add a change to the counters, always in the same order: two transactions never wait for each other."""
        upsert, added = _UPSERT[self.session.get_bind().dialect.name], []
        for (kind, state), (files, size, charged) in sorted(change.cells.items()):
            if not (files or size or charged):
                continue
            values = {"files_count": files, "size_bytes": size, "charged_bytes": charged}
            # The row that would be inserted is checked before the conflict is seen: a loss cannot be an insert.
            if files < 0 or size < 0 or charged < 0:
                self._add(project_id, kind, state, values)
                continue
            added.append({"project_id": project_id, "kind": kind, "state": state, **values})
        if added:
            self.session.connection().execute(upsert, added)

    def _add(self, project_id: str, kind: str, state: str, values: dict[str, int]) -> None:
        row = self.session.exec(
            select(CounterModel)
            .where(CounterModel.project_id == project_id, CounterModel.kind == kind, CounterModel.state == state)
            .execution_options(populate_existing=True)
        ).one()
        for name, amount in values.items():
            setattr(row, name, getattr(row, name) + amount)
        self.session.add(row)
        self.session.flush()

    def of(self, project_id: str) -> list[CounterModel]:
        """Return the counters of a project."""
        return list(
            self.session.exec(
                select(CounterModel)
                .where(CounterModel.project_id == project_id)
                .order_by(col(CounterModel.kind), col(CounterModel.state))
            )
        )

    def replace(self, project_id: str, fresh: Change) -> list[str]:
        """Set the counters to what the rows say. Return what differed, as `kind state: was -> is`."""
        drift = []
        there = {(row.kind, row.state): row for row in self.of(project_id)}
        for place in sorted(there.keys() | fresh.cells.keys()):
            row = there.get(place) or CounterModel(project_id=project_id, kind=place[0], state=place[1])
            was, new = [row.files_count, row.size_bytes, row.charged_bytes], fresh.cells.get(place, [0, 0, 0])
            if was != new:
                drift.append(f"{place[0]} {place[1]}: {was} -> {new}")
                row.files_count, row.size_bytes, row.charged_bytes = new
                self.session.add(row)
        self.session.flush()
        return drift


def _adding(insert: PostgresqlInsert | SqliteInsert) -> PostgresqlInsert | SqliteInsert:
    amounts = ("files_count", "size_bytes", "charged_bytes")
    return insert.on_conflict_do_update(
        index_elements=["project_id", "kind", "state"],
        set_={name: col(getattr(CounterModel, name)) + insert.excluded[name] for name in amounts},
    )


# Built once, as in `projects`.
_UPSERT = {"sqlite": _adding(sqlite_insert(CounterModel)), "postgresql": _adding(postgresql_insert(CounterModel))}
