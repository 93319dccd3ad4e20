# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrate a database to a revision of the schema: owns the schema's history."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from noslop_backend import __version__
from noslop_backend.core.database import Database
from noslop_backend.core.errors import ConfigurationError, NewerDatabaseError


def config(database: Database) -> Config:
    """Return Alembic's configuration for this database; there is no alembic.ini."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.attributes["database"] = database
    return made


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema up to a revision, in one transaction. Rows stay.

    Raises:
        NewerDatabaseError: a newer version has migrated it. Nothing was changed.
    """
    pending(database)
    command.upgrade(config(database), revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to a revision; `base` leaves nothing."""
    command.downgrade(config(database), revision)


def current(database: Database) -> str | None:
    """Return the revision that the database is at; None before the first."""
    with database.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def pending(database: Database) -> tuple[str | None, str]:
    """Return the revision that the database is at (None before the first), and the one that this version needs.

    Raises:
        NewerDatabaseError: it is at a revision that this version does not have.
    """
    scripts = ScriptDirectory.from_config(config(database))
    wanted = scripts.get_current_head()
    assert wanted is not None
    revision = current(database)
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise NewerDatabaseError(
            f"The database is at revision {revision}, which this version of the backend ({__version__}) does not know: "
            "a newer version has migrated it, and there is no way back that keeps every row. Nothing was changed. "
            "Install that version again, or a newer one. To stay with this one, stop the service, move the database "
            "away, and make one of a copy from before: noslop-backend backup restore FILE."
        )
    return revision, wanted


def check(database: Database) -> None:
    """Reject a database whose schema is not that of this version.

    Raises:
        ConfigurationError: it has to be migrated first, or a newer version has migrated it.
    """
    revision, wanted = pending(database)
    if revision != wanted:
        raise ConfigurationError(
            f"The database is at revision {revision or 'none'}, and this version of the backend needs {wanted}. "
            "Stop the service and run: noslop-backend migrate"
        )
