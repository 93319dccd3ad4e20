# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the names of workflows and prompts, and the operation that moves files to another project."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from noslop_backend.share.layout import title_key

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ROWS_AT_ONCE = 1000
_INDEX = "ix_document_project_id_kind_name_key"
_BEFORE = (
    "op IN ('create_project', 'update_project', 'purge_project', 'import_project', 'write', 'adopt', 'promote', "
    "'trash', 'restore', 'purge', 'cleanup')"
)
_AFTER = _BEFORE.replace("'cleanup')", "'cleanup', 'transfer')")


def upgrade() -> None:
    """Go to this revision. Documents that have one key by now stay apart, and are addressed by their exact names."""
    op.execute("ALTER TABLE document ADD COLUMN name_key VARCHAR DEFAULT '' NOT NULL")
    _fill(op.get_bind())
    op.create_index(_INDEX, "document", ["project_id", "kind", "name_key"])
    _replace_check(_BEFORE, _AFTER)


def downgrade() -> None:
    """Go back to the one before. Of what was moved only the answers to repeated requests are lost.

    Raises:
        RuntimeError: files are being moved.
    """
    connection = op.get_bind()
    moving = "SELECT count(*) FROM intent WHERE op = 'transfer' AND state = 'open'"
    if connection.execute(sa.text(moving)).scalar_one():
        raise RuntimeError(
            "Files are being moved to another project, and the version before cannot finish that. Nothing was changed. "
            "Start this version once more, so that it finishes what was begun, and try again."
        )
    connection.execute(sa.text("DELETE FROM intent WHERE op = 'transfer'"))
    _replace_check(_AFTER, _BEFORE)
    op.drop_index(_INDEX, "document")
    op.drop_column("document", "name_key")


def _replace_check(old: str, new: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_intent_op"), "intent", type_="check")
        op.create_check_constraint(op.f("ck_intent_op"), "intent", new)
        return
    # As in 0004: SQLite has no statement for that, and a copy of the table would take rows along that refer to it.
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :old, :new) "
            "WHERE type = 'table' AND name = 'intent' AND instr(sql, :old) > 0"
        ),
        {"old": old, "new": new},
    ).rowcount
    if changed != 1:
        raise RuntimeError("The table intent is not as its migrations made it. Nothing was changed.")
    connection.exec_driver_sql(f"PRAGMA schema_version = {int(version) + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


def _fill(connection: sa.Connection) -> None:
    rows = sa.text("SELECT id, name FROM document WHERE id > :last ORDER BY id LIMIT :size")
    update = sa.text("UPDATE document SET name_key = :key WHERE id = :id")
    last = ""
    while batch := connection.execute(rows, {"last": last, "size": _ROWS_AT_ONCE}).all():
        connection.execute(update, [{"id": row.id, "key": title_key(row.name)} for row in batch])
        last = batch[-1].id
