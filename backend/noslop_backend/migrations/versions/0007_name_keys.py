# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys by which workflows and prompts are found whose names differ in case or spaces only."""

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


def upgrade() -> None:
    """Go to this revision. Documents that have one key by now stay apart, and are addressed by their exact names."""
    op.execute("ALTER TABLE document ADD COLUMN name_key VARCHAR DEFAULT '' NOT NULL")
    _fill(op.get_bind())
    op.create_index(_INDEX, "document", ["project_id", "kind", "name_key"])


def downgrade() -> None:
    """Go back to the one before. Nothing is lost: keys are made of names."""
    op.drop_index(_INDEX, "document")
    op.drop_column("document", "name_key")


def _fill(connection: sa.Connection) -> None:
    rows = sa.text("SELECT id, name FROM document WHERE id > :last ORDER BY id LIMIT :size")
    update = sa.text("UPDATE document SET name_key = :key WHERE id = :id")
    last = ""
    while batch := connection.execute(rows, {"last": last, "size": _ROWS_AT_ONCE}).all():
        connection.execute(update, [{"id": row.id, "key": title_key(row.name)} for row in batch])
        last = batch[-1].id
