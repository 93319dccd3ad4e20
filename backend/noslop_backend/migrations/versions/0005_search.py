# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search's index, and the tags and stars of files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from noslop_backend.repositories import search, search_words
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ROWS_AT_ONCE = 2000
#: FTS5 keeps no second copy of the texts (https://www.sqlite.org/fts5.html, 4.4.3), and has to be told of each change.
#: Its own split into words is by the same classes of characters as `search_words`, and prefixes of two to four letters
#: have lists of their own.
_FTS5 = (
    "CREATE VIRTUAL TABLE search_text USING fts5(words, marks, content='search_entry', content_rowid='number', "
    "prefix='2 3 4', tokenize=\"unicode61 remove_diacritics 0 categories 'L* N* M* Co'\")",
    "CREATE TRIGGER search_entry_added AFTER INSERT ON search_entry BEGIN "
    "INSERT INTO search_text (rowid, words, marks) VALUES (new.number, new.words, new.marks); END",
    "CREATE TRIGGER search_entry_removed AFTER DELETE ON search_entry BEGIN "
    "INSERT INTO search_text (search_text, rowid, words, marks) VALUES ('delete', old.number, old.words, old.marks); "
    "END",
    "CREATE TRIGGER search_entry_changed AFTER UPDATE ON search_entry BEGIN "
    "INSERT INTO search_text (search_text, rowid, words, marks) VALUES ('delete', old.number, old.words, old.marks); "
    "INSERT INTO search_text (rowid, words, marks) VALUES (new.number, new.words, new.marks); END",
)


def upgrade() -> None:
    """Go to this revision. Files that exist get entries; `rebuild-search` adds prompts' texts, which the share has."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    # Tables that others refer to are not made anew for a check: it stands beside its column.
    op.execute("ALTER TABLE file ADD COLUMN tags JSON DEFAULT '[]' NOT NULL")
    op.execute("ALTER TABLE file ADD COLUMN rating INTEGER CONSTRAINT ck_file_rating CHECK (rating BETWEEN 0 AND 5)")
    kind = sa.Text() if is_sqlite else TSVECTOR()
    op.create_table(
        "search_entry",
        sa.Column("number", sa.Integer() if is_sqlite else sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("file_id", sa.String(), nullable=False),
        sa.Column("words", kind, nullable=False),
        sa.Column("marks", kind, nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name="fk_search_entry_file_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="pk_search_entry"),
        sa.UniqueConstraint("file_id", name="uq_search_entry_file_id"),
    )
    if is_sqlite:
        for statement in _FTS5:
            op.execute(statement)
    _fill(op.get_bind(), is_sqlite)
    if not is_sqlite:
        op.create_index(
            "ix_search_entry_words_marks", "search_entry", ["words", "marks"], unique=False, postgresql_using="gin"
        )


def downgrade() -> None:
    """Go back to the one before. Tags and stars are lost here; those of files with sidecars are on the share."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE search_text")
    op.drop_table("search_entry")
    op.drop_column("file", "rating")
    op.drop_column("file", "tags")


def _fill(connection: sa.Connection, is_sqlite: bool) -> None:
    rows = sa.text(
        "SELECT id, project_id, kind, name, parameters, created_at FROM file "
        "WHERE kind <> 'sidecar' AND (created_at, id) > (:moment, :id) ORDER BY created_at, id LIMIT :size"
    )
    insert = sa.text(
        "INSERT INTO search_entry (number, file_id, words, marks) VALUES (:number, :file_id, :words, :marks)"
        if is_sqlite
        else "INSERT INTO search_entry (number, file_id, words, marks) "
        "VALUES (:number, :file_id, CAST(:words AS tsvector), CAST(:marks AS tsvector))"
    )
    moment: Any = "" if is_sqlite else datetime(1, 1, 1, tzinfo=UTC)
    last, file_id = 0, ""
    while batch := connection.execute(rows, {"moment": moment, "id": file_id, "size": _ROWS_AT_ONCE}).all():
        values = []
        for row in batch:
            made = search_words.entry(
                project_id=row.project_id,
                kind=row.kind,
                name=row.name,
                parameters=json.loads(row.parameters) if isinstance(row.parameters, str) else row.parameters,
            )
            last = max(last + 1, search.number_of(_moment(row.created_at)))
            words, marks = search.columns(made, is_sqlite=is_sqlite)
            values.append({"number": last, "file_id": row.id, "words": words, "marks": marks})
        connection.execute(insert, values)
        moment, file_id = batch[-1].created_at, batch[-1].id


def _moment(value: str | datetime) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value
