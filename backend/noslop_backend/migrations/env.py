# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the migrations, as Alembic's script, over the backend's own engine: its pragmas and its BEGIN count here too."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from noslop_backend.core.database import Database
from noslop_backend.models import metadata

#: Of PostgreSQL's advisory locks, the one of migrations. Any number will do: this is `noslop` in ASCII.
_LOCK = 0x6E6F736C6F70


def run() -> None:
    """Run the migrations that were asked for."""
    database: Database = context.config.attributes["database"]
    with database.write() as session:
        if not database.is_sqlite:  # there the transaction itself keeps others from writing
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        context.configure(
            connection=session.connection(),
            target_metadata=metadata,
            render_as_batch=database.is_sqlite,
            compare_type=True,
        )
        context.run_migrations()


run()
