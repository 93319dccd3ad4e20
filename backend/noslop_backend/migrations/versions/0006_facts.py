# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add the facts and the fields of media."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision. Files that exist have none: they are read when they are saved."""
    for name in ("facts", "fields"):
        op.execute(f"ALTER TABLE file ADD COLUMN {name} JSON")


def downgrade() -> None:
    """Go back to the one before. Those of files with sidecars are on the share."""
    for name in ("fields", "facts"):
        op.drop_column("file", name)
