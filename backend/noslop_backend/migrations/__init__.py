# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema's history, and the functions that move a database along it."""

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
    """Alembic's configuration for this database; there is no alembic.ini."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.attributes["database"] = database
    return made


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema up to a revision, in one transaction. Rows stay.

    Raises:
        NewerDatabaseError: a newer version was here. Nothing was changed.
    """
    pending(database)
    command.upgrade(config(database), revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to a revision; `base` leaves nothing."""
    command.downgrade(config(database), revision)


def current(database: Database) -> str | None:
    """Revision that the database is at; None before the first."""
    with database.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def pending(database: Database) -> tuple[str | None, str]:
    """Where the database is (None: before the first revision), and where this version wants it.

    Raises:
        NewerDatabaseError: it is at a revision that this version does not know.
    """
    scripts = ScriptDirectory.from_config(config(database))
    wanted = scripts.get_current_head()
    assert wanted is not None
    found = current(database)
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise NewerDatabaseError(
            f"The database is at revision {found}, which this version of the backend ({__version__}) does not know: a "
            "newer version has migrated it, and there is no way back that keeps every row. Nothing was changed. "
            "Install that version again, or a newer one. Whoever has to stay with this one stops the service, moves "
            "the database away, and makes one of a copy from before: noslop-backend backup restore FILE."
        )
    return found, wanted


def check(database: Database) -> None:
    """Refuse to serve from a schema that is not ours.

    Raises:
        ConfigurationError: it has to be migrated first, or a newer version was here.
    """
    found, wanted = pending(database)
    if found != wanted:
        raise ConfigurationError(
            f"The database is at revision {found or 'none'}, and this version of the backend needs {wanted}. "
            "Stop the service and run: noslop-backend migrate"
        )
