# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search's index: entries of files, kept in the transactions that change their rows, and pages of what matches.

An entry's number is the microsecond at which its file came here, times 2048. Newest first is then the order in which
both databases keep their entries anyway: the first page of a word that is in every second file reads a hundred
entries, not half a million.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, func, insert, text, update
from sqlmodel import Session, col, select

from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState, ProjectState
from noslop_backend.models import DocumentModel, FileModel, SearchEntryModel
from noslop_backend.repositories import search_words
from noslop_backend.repositories.search_words import Entry, Term
from noslop_backend.share.layout import FileKind

#: Numbers within one microsecond.
STEP = 2048
#: Files of one moment get numbers within so many microseconds after it.
_CROWD = 1000 * STEP
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US = 2**52 - 1
#: Above every number.
END = 2**63 - 1
#: PostgreSQL's advisory lock of who gives numbers: `search` in ASCII. Taken after the project's and before the
#: store's row, so that numbers become visible in their order, and who asks for what came since misses none.
_LOCK = 0x736561726368
_SLICE = 500


@dataclass(frozen=True)
class Filter:
    """Which files are wanted: all of these."""

    terms: Sequence[Term] = ()
    #: Marks in groups, of each of which a file has at least one.
    marks: Sequence[Sequence[str]] = ()
    #: Numbers between these, neither of them included.
    above: int = 0
    below: int = END
    newest_first: bool = True
    state: FileState = field(default=FileState.PRESENT)


class SearchRepository:
    """Statements on `search_entry`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.is_sqlite = session.connection().dialect.name == "sqlite"

    def add(self, rows: Iterable[FileModel], texts: Mapping[str, str] | None = None) -> None:
        """Insert the entries of files that have just got rows: above all entries that are there.

        Args:
            rows: the files; sidecars are passed over.
            texts: contents to look through, by id.
        """
        wanted = [row for row in rows if row.kind != FileKind.SIDECAR]
        if not wanted:
            return
        self._lock()
        number = max(self.last() + 1, number_of(clock(self.session)))
        values = [self._values(row, number + at, texts) for at, row in enumerate(wanted)]
        self.session.connection().execute(_INSERT, values)

    def add_older(self, rows: Iterable[FileModel], texts: Mapping[str, str] | None = None) -> None:
        """Insert the entries of files of a rebuilt or imported project, by when they were made."""
        wanted = sorted((row for row in rows if row.kind != FileKind.SIDECAR), key=lambda row: (row.created_at, row.id))
        if not wanted:
            return
        self._lock()
        now, names = clock(self.session), self._document_names(wanted)
        numbers = [number_of(min(row.created_at, now)) + hash_of(row.id) for row in wanted]
        used: set[int] = set()
        for start in range(0, len(numbers), _SLICE):
            some = col(SearchEntryModel.number).in_(numbers[start : start + _SLICE])
            used |= set(self.session.exec(select(SearchEntryModel.number).where(some)))
        values, late = [], []
        for row, number in zip(wanted, numbers, strict=True):
            if number in used:
                late.append(row)
            else:
                used.add(number)
                values.append(self._values(row, number, texts, names))
        if values:
            self.session.connection().execute(_INSERT, values)
        for row in late:
            number = self._free(number_of(min(row.created_at, now)))
            self.session.connection().execute(_INSERT, [self._values(row, number, texts, names)])

    def replace(self, rows: Iterable[FileModel], texts: Mapping[str, str] | None = None) -> None:
        """Write entries anew after what their files are found by has changed.

        Their numbers stay; an entry that is missing is made.

        Args:
            rows: the files as they are now.
            texts: contents to look through, by id.
        """
        rows = list(rows)
        names = self._document_names(rows)
        for row in rows:
            made = self._values(row, 0, texts, names)
            values = {"of_file": row.id, "new_words": made["words"], "new_marks": made["marks"]}
            if not self.session.connection().execute(_REPLACE, values).rowcount:
                self.add_older([row], texts)

    def repair(self) -> None:
        """Let SQLite make its own index anew from the entries; PostgreSQL's needs none of that."""
        if self.is_sqlite:
            self.session.connection().execute(text("INSERT INTO search_text (search_text) VALUES ('rebuild')"))

    def last(self) -> int:
        """Return the highest number; 0 without entries."""
        return int(self.session.connection().execute(_LAST).scalar_one())

    def page(self, wanted: Filter, limit: int) -> list[tuple[int, FileModel]]:
        """Return the first so many files that are wanted, with their numbers."""
        values = {
            "above": wanted.above,
            "below": wanted.below,
            "state": wanted.state,
            "project_state": ProjectState.PRESENT,
            "size": limit,
        }
        statement = self._sqlite(wanted, values) if self.is_sqlite else self._postgresql(wanted, values)
        matches = self.session.connection().execute(text(statement), values).all()
        ids = [file_id for _, file_id in matches]
        rows: dict[str, FileModel] = {}
        for start in range(0, len(ids), _SLICE):
            some = select(FileModel).where(col(FileModel.id).in_(ids[start : start + _SLICE]))
            rows |= {row.id: row for row in self.session.exec(some)}
        return [(int(number), rows[file_id]) for number, file_id in matches]

    def _sqlite(self, wanted: Filter, values: dict[str, object]) -> str:
        order = "DESC" if wanted.newest_first else "ASC"
        match = _fts5(wanted)
        if match:
            values["match"] = match
            # CROSS JOIN keeps the order of the tables: matches first, and no more of them than the page has.
            source = "search_text CROSS JOIN search_entry ON search_entry.number = search_text.rowid"
            where, number = "search_text MATCH :match AND ", "search_text.rowid"
        else:
            source, where, number = "search_entry", "", "search_entry.number"
        return (
            f"SELECT search_entry.number, search_entry.file_id FROM {source} "  # noqa: S608 - no text of a user
            "CROSS JOIN file ON file.id = search_entry.file_id CROSS JOIN project ON project.id = file.project_id "
            f"WHERE {where}{number} > :above AND {number} < :below AND file.state = :state "
            f"AND project.state = :project_state ORDER BY {number} {order} LIMIT :size"
        )

    @staticmethod
    def _postgresql(wanted: Filter, values: dict[str, object]) -> str:
        order, where = ("DESC" if wanted.newest_first else "ASC"), ""
        for name, query in (("words", _tsquery_words(wanted)), ("marks", _tsquery_marks(wanted))):
            if query:
                values[name] = query
                where += f"search_entry.{name} @@ CAST(:{name} AS tsquery) AND "
        return (
            "SELECT search_entry.number, search_entry.file_id FROM search_entry "  # noqa: S608 - no text of a user
            "JOIN file ON file.id = search_entry.file_id JOIN project ON project.id = file.project_id "
            f"WHERE {where}search_entry.number > :above AND search_entry.number < :below AND file.state = :state "
            f"AND project.state = :project_state ORDER BY search_entry.number {order} LIMIT :size"
        )

    def _values(
        self, row: FileModel, number: int, texts: Mapping[str, str] | None, names: Mapping[str, str] | None = None
    ) -> dict[str, object]:
        document = (names or {}).get(row.document_id or "", row.name)
        made = search_words.entry(
            project_id=row.project_id,
            kind=row.kind,
            name=row.name if document == row.name else f"{row.name} {document}",
            parameters=row.parameters,
            facts=row.facts,
            fields=row.fields,
            tags=row.tags,
            rating=row.rating,
            text=(texts or {}).get(row.id, ""),
        )
        words, marks = columns(made, is_sqlite=self.is_sqlite)
        return {"number": number, "file_id": row.id, "words": words, "marks": marks}

    def _document_names(self, rows: Iterable[FileModel]) -> dict[str, str]:
        """Return what documents are called now, by id: their versions may have been saved under other names."""
        ids = sorted({row.document_id for row in rows if row.document_id is not None})
        names: dict[str, str] = {}
        for start in range(0, len(ids), _SLICE):
            some = col(DocumentModel.id).in_(ids[start : start + _SLICE])
            names |= dict(self.session.exec(select(DocumentModel.id, DocumentModel.name).where(some)).all())
        return names

    def _lock(self) -> None:
        if not self.is_sqlite:  # there one transaction writes at a time
            self.session.connection().execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def _free(self, first: int) -> int:
        """Return the number behind those of a moment: more files than `STEP` may have been made in it."""
        while True:
            last = self.session.exec(
                select(func.max(col(SearchEntryModel.number))).where(
                    col(SearchEntryModel.number) >= first, col(SearchEntryModel.number) < first + _CROWD
                )
            ).one()
            number = first if last is None else int(last) + 1
            if number < first + _CROWD:
                return number
            first += _CROWD


def number_of(moment: datetime) -> int:
    """Return the first number of a moment."""
    return min(max((moment - _EPOCH) // timedelta(microseconds=1), 0), _LAST_US) * STEP


def hash_of(file_id: str) -> int:
    """Return a number below `STEP` that files of one moment differ by, nearly always."""
    return int.from_bytes(file_id.encode()[-3:], "big") * 2_654_435_761 % 2**32 * STEP >> 32


def columns(made: Entry, *, is_sqlite: bool) -> tuple[str, str]:
    """Return an entry's `words` and `marks` as a database keeps them."""
    if is_sqlite:
        return " ".join(made.words), " ".join(made.marks)
    places: dict[str, list[str]] = {}
    for place, word in enumerate(made.words, start=1):
        places.setdefault(word, []).append(str(place))
    # PostgreSQL keeps no more than 256 places of a word (its documentation, 12.11).
    words = " ".join(f"'{word}':{','.join(at[:256])}" for word, at in places.items())
    return words, " ".join(f"'{mark}'" for mark in made.marks)


def _fts5(wanted: Filter) -> str:
    # Words are letters and digits: quoted they are texts to FTS5, and never its operators.
    parts = [f'words : "{" ".join(term.words)}"{" *" if term.prefix else ""}' for term in wanted.terms]
    parts += ["marks : (" + " OR ".join(f'"{mark}"' for mark in group) + ")" for group in wanted.marks]
    return " AND ".join(parts)


def _tsquery_words(wanted: Filter) -> str:
    terms = []
    for term in wanted.terms:
        words = [f"'{word}'" for word in term.words]
        words[-1] += ":*" if term.prefix else ""
        terms.append(f"({' <-> '.join(words)})")
    return " & ".join(terms)


def _tsquery_marks(wanted: Filter) -> str:
    return " & ".join("(" + " | ".join(f"'{mark}'" for mark in group) + ")" for group in wanted.marks)


_LAST = select(func.coalesce(func.max(col(SearchEntryModel.number)), 0))
_INSERT = insert(SearchEntryModel)
_REPLACE = (
    update(SearchEntryModel)
    .where(col(SearchEntryModel.file_id) == bindparam("of_file"))
    .values(words=bindparam("new_words"), marks=bindparam("new_marks"))
)
