# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the history of changes, whose numbers are the events'."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_JOB = sa.table("job", sa.column("name", sa.String()), sa.column("state", sa.JSON()))


def upgrade() -> None:
    """Go to this revision. What the audit log holds can be asked for as events."""
    op.execute(sa.delete(_JOB).where(_JOB.c.name == "events"))
    op.execute(sa.insert(_JOB).values(name="events", state={"stream": secrets.token_hex(4)}))


def downgrade() -> None:
    """Go back to the one before. It removes rows whose numbers then come again, so events begin anew after it."""
    op.execute(sa.delete(_JOB).where(_JOB.c.name == "events"))
