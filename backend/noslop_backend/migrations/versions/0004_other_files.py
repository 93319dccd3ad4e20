# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the kind `other`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BEFORE = "kind IN ('workflow', 'prompt', 'image', 'video', 'audio', 'latent', 'mask', 'frame', 'final', 'sidecar')"
_AFTER = _BEFORE.replace("'audio', ", "'audio', 'other', ")
_TABLES = ("file", "tally")
_IN_PLAN = "SELECT count(*) FROM intent WHERE state = 'open' AND CAST(plan AS TEXT) LIKE '%generated/other/%'"


def upgrade() -> None:
    """Go to this revision. Rows stay as they are."""
    _replace_check(_BEFORE, _AFTER)


def downgrade() -> None:
    """Go back to the one before. It has no place for other files: their rows go, and the files stay on the share.

    Raises:
        RuntimeError: one of them is being written, moved or removed.
    """
    connection = op.get_bind()
    if connection.execute(sa.text(_IN_PLAN)).scalar_one():
        raise RuntimeError(
            "A file of the kind `other` is being written, moved or removed, and the version before cannot finish that. "
            "Nothing was changed. Start this version once more, so that it finishes what was begun, and try again."
        )
    _remove_others(connection)
    _replace_check(_AFTER, _BEFORE)


def _replace_check(old: str, new: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        for table in _TABLES:
            op.drop_constraint(op.f(f"ck_{table}_kind"), table, type_="check")
            op.create_check_constraint(op.f(f"ck_{table}_kind"), table, new)
        return
    # SQLite has no statement for that. A copy of the table would take the rows that refer to it along when the old one
    # is dropped, and rewrite a database of a million files; its documents give this way for constraints that all rows
    # fulfil (https://www.sqlite.org/lang_altertable.html, 7).
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for table in _TABLES:
        changed = connection.execute(
            sa.text(
                "UPDATE sqlite_master SET sql = replace(sql, :old, :new) "
                "WHERE type = 'table' AND name = :name AND instr(sql, :old) > 0"
            ),
            {"old": old, "new": new, "name": table},
        ).rowcount
        if changed != 1:
            raise RuntimeError(f"The table {table} is not as its migrations made it. Nothing was changed.")
    connection.exec_driver_sql(f"PRAGMA schema_version = {int(version) + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


def _remove_others(connection: sa.Connection) -> None:
    def run(statement: str, **values: str) -> list[str]:
        result = connection.execute(sa.text(statement), values)
        return [str(row[0]) for row in result] if result.returns_rows else []

    projects = run("SELECT DISTINCT project_id FROM file WHERE kind = 'other'")
    contents = run("SELECT DISTINCT content_id FROM file WHERE kind = 'other'")
    run("DELETE FROM file WHERE of_file_id IN (SELECT id FROM file WHERE kind = 'other')")
    run("DELETE FROM file WHERE kind = 'other'")
    for content_id in contents:
        # A final that was made of one pays for itself from now on.
        run(
            "UPDATE file SET charged_bytes = size_bytes WHERE id = (SELECT id FROM file WHERE content_id = :content_id "
            "AND state IN ('present', 'trashed', 'purging') ORDER BY created_at, id LIMIT 1) AND NOT EXISTS "
            "(SELECT 1 FROM file WHERE content_id = :content_id AND charged_bytes > 0)",
            content_id=content_id,
        )
    for project_id in projects:
        run("DELETE FROM tally WHERE project_id = :project_id", project_id=project_id)
        run(
            "INSERT INTO tally (project_id, kind, state, files_count, size_bytes, charged_bytes) "
            "SELECT project_id, kind, state, count(*), sum(size_bytes), sum(charged_bytes) FROM file "
            "WHERE project_id = :project_id GROUP BY project_id, kind, state",
            project_id=project_id,
        )
        run(
            "UPDATE project SET "
            "used_bytes = (SELECT coalesce(sum(charged_bytes), 0) FROM file WHERE project_id = :project_id), "
            "media_count = (SELECT count(*) FROM file WHERE project_id = :project_id AND state = 'present' "
            "AND kind IN ('image', 'video', 'audio', 'final')) WHERE id = :project_id",
            project_id=project_id,
        )
    run("UPDATE store SET used_bytes = (SELECT coalesce(sum(used_bytes), 0) FROM project)")
