# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit tokens to single projects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision. Tokens that exist stay tokens for all projects."""
    op.add_column("token", sa.Column("projects", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Go back to the one before. It knows no limits, so tokens that have one are removed and not widened."""
    op.execute("DELETE FROM token WHERE projects IS NOT NULL")
    op.drop_column("token", "projects")
