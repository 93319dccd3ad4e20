# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the manifest of an archive as a whole, before anything is written.

Ids, paths, versions and sizes have to fit each other. The rows lie in a temporary database on the local disk, so that
an archive of a million files needs no more memory than one of ten.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from noslop_backend.archive.manifest import DocumentLine, FileLine, Line, NeedLine, ProjectLine
from noslop_backend.archive.tar import ArchiveError
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

_SCHEMA = """
CREATE TABLE document (id TEXT PRIMARY KEY, kind TEXT, name TEXT, last INTEGER, new TEXT, UNIQUE (kind, name)) WITHOUT
ROWID;
CREATE TABLE file (
    id TEXT PRIMARY KEY, path TEXT UNIQUE, kind TEXT, size INTEGER, blake3 TEXT, own INTEGER,
    document TEXT, version INTEGER, new TEXT, UNIQUE (document, version)
) WITHOUT ROWID;
CREATE TABLE need (from_id TEXT, to_id TEXT, PRIMARY KEY (from_id, to_id)) WITHOUT ROWID;
"""
#: An id as a whole word: in JSON between quotation marks, in a file's name between a dash and a dot.
_WORD = re.compile(rb"(?<![0-9a-z])[0-9a-z]{13}(?![0-9a-z])")
_SLICE = 500


class ManifestIndex:
    """The rows of an archive, with the ids that they get here. Use it with `with`."""

    def __init__(self, directory: Path) -> None:
        self._rows = sqlite3.connect(directory / "rows.sqlite3", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.executescript(_SCHEMA)
        self._project: ProjectLine | None = None
        self._documents = self._files = self._total = 0
        #: Whether any id is another here than in the archive.
        self.renamed = 0
        self.new_project_id = ""

    def __enter__(self) -> Self:
        self._rows.execute("BEGIN")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rows.close()

    def add_lines(self, lines: Iterable[Line]) -> ProjectLine:
        """Check all lines of a manifest against each other.

        Raises:
            ArchiveError: they contradict each other.
        """
        for line in lines:
            try:
                self._add(line)
            except sqlite3.IntegrityError as error:
                raise ArchiveError(
                    f"The archive's manifest lists the same thing twice ({line.model_dump_json()[:200]}): an id, a "
                    "path, a name or a version. Nothing was imported."
                ) from error
        project = self.project
        promised = (project.documents_count, project.files_count, project.total_bytes)
        if promised != (self._documents, self._files, self._total):
            raise ArchiveError(
                f"The archive's manifest promises {promised[0]} documents and {promised[1]} files of {promised[2]} "
                f"bytes, and lists {self._documents}, {self._files} and {self._total}. Nothing was imported."
            )
        return project

    @property
    def project(self) -> ProjectLine:
        """Return the first line.

        Raises:
            ArchiveError: the manifest has none.
        """
        if self._project is None:
            raise ArchiveError("The archive's manifest names no project.")
        return self._project

    def _add(self, line: Line) -> None:
        if isinstance(line, ProjectLine):
            if self._project is not None:
                raise ArchiveError("The archive's manifest names more than one project. Nothing was imported.")
            self._project, self.new_project_id = line, line.id
        elif isinstance(line, DocumentLine):
            self._documents += 1
            self._rows.execute(
                "INSERT INTO document VALUES (?, ?, ?, ?, NULL)", (line.id, line.kind, line.name, line.last_version)
            )
        elif isinstance(line, FileLine):
            self._files += 1
            self._add_file(line)
        else:
            self._add_need(line)

    def _add_file(self, line: FileLine) -> None:
        if line.same_as is None:
            self._total += line.size_bytes
        else:
            payer = self._one("SELECT size, blake3, own FROM file WHERE id = ?", line.same_as)
            if payer != (line.size_bytes, line.blake3, 1):
                raise ArchiveError(f"{line.path} is to be the same as {line.same_as}, which is another or comes later.")
        if line.document_id is not None:
            document = self._one("SELECT kind, last FROM document WHERE id = ?", line.document_id)
            if document is None or document[0] != line.kind or not 1 <= (line.version or 0) <= document[1]:
                raise ArchiveError(
                    f"{line.path} is to be version {line.version} of {line.document_id}, which has none such."
                )
        if line.of_file_id is not None:
            described = self._one("SELECT path, kind FROM file WHERE id = ?", line.of_file_id)
            parsed = layout.parse(line.path)
            if described is None or parsed is None or described != (parsed.describes, described[1]):
                raise ArchiveError(f"{line.path} describes a file that is not in the archive, or comes later.")
            if described[1] == FileKind.SIDECAR:
                raise ArchiveError(f"{line.path} describes a sidecar.")
        self._rows.execute(
            "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                *(line.id, line.path, line.kind, line.size_bytes, line.blake3, int(line.same_as is None)),
                *(line.document_id, line.version),
            ),
        )

    def _add_need(self, line: NeedLine) -> None:
        for file_id in (line.from_id, line.to_id):
            if self._one("SELECT 1 FROM file WHERE id = ?", file_id) is None:
                raise ArchiveError(
                    f"The archive's manifest says that {line.from_id} needs {line.to_id}, and lists no such file."
                )
        self._rows.execute("INSERT INTO need VALUES (?, ?)", (line.from_id, line.to_id))

    def _one(self, sql: str, value: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._rows.execute(sql, (value,)).fetchone()
        return row

    def ids(self, table: str) -> Iterator[list[str]]:
        """Yield the ids of all files or documents, some at a time. `table` is `file` or `document`."""
        last = ""
        assert table in {"file", "document"}
        while True:
            some = self._rows.execute(
                f"SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - one of two words
                (last, _SLICE),
            ).fetchall()
            if not some:
                return
            last = some[-1][0]
            yield [row[0] for row in some]

    def rename(self, table: str, clashing: Iterable[str]) -> None:
        """Allocate new ids for files or documents whose ids this studio has given to others."""
        assert table in {"file", "document"}
        for each in clashing:
            self.renamed += 1
            fresh = layout.encode_id(secrets.token_bytes(layout.FILE_ID_BYTES))
            self._rows.execute(
                f"UPDATE {table} SET new = ? WHERE id = ?",  # noqa: S608 - one of two words
                (fresh, each),
            )

    def rename_project(self) -> None:
        """Allocate a new id for the project, of the same length."""
        self.renamed += 1
        readable = self.project.id.rpartition("-")[0]
        self.new_project_id = f"{readable}-{layout.encode_id(secrets.token_bytes(layout.PROJECT_ID_BYTES))}"

    def new_id(self, old: str | None) -> str | None:
        """Return the id here of what has the id `old` in the archive; `old` itself for what is not in it."""
        if old is None or not self.renamed:
            return old
        with closing(
            self._rows.execute(
                "SELECT new FROM file WHERE id = ?1 AND new IS NOT NULL UNION ALL "
                "SELECT new FROM document WHERE id = ?1 AND new IS NOT NULL",
                (old,),
            )
        ) as rows:
            row = rows.fetchone()
        return str(row[0]) if row else old

    def needs(self, old: str) -> list[str]:
        """Return the ids here of what a file of the archive needs, sorted. `old` is its id in the archive."""
        rows = self._rows.execute("SELECT to_id FROM need WHERE from_id = ?", (old,)).fetchall()
        return sorted(new for row in rows if (new := self.new_id(row[0])))

    def new_text(self, text: bytes) -> bytes:
        """Return a text with every id of the archive in it replaced by the one here; its length stays."""
        if not self.renamed:
            return text

        def fresh(match: re.Match[bytes]) -> bytes:
            old = match[0].decode()
            return (self.new_id(old) or old).encode()

        return _WORD.sub(fresh, text.replace(self.project.id.encode(), self.new_project_id.encode()))
