# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Alembic runs: the migrations, over the backend's own engine, so that its pragmas and its BEGIN hold here too."""

from __future__ import annotations

from alembic import context

from noslop_backend.database import Database
from noslop_backend.models import metadata


def run() -> None:
    """Run the migrations that were asked for."""
    database: Database = context.config.attributes["database"]
    with database.write() as session:
        context.configure(
            connection=session.connection(),
            target_metadata=metadata,
            render_as_batch=database.is_sqlite,
            compare_type=True,
        )
        context.run_migrations()


run()
