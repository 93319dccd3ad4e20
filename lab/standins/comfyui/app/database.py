# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the SQLite database of one process: migrate it, in WAL mode, with a lock that rejects a second process."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
from contextlib import closing
from typing import TextIO

from app.behaviour import MIGRATIONS, behaviour
from comfyui_version import __version__

PREFIX = "sqlite:///"


class LockedError(Exception):
    """A failure because another process uses the database."""


def open_database(url: str) -> TextIO | None:
    """Create or migrate the database, and return the locked file, which must stay open (None in memory).

    Raises LockedError, ValueError for another kind of database or one of a newer release, and OSError or sqlite3.Error
    when it cannot be made or migrated.
    """
    if not url.startswith(PREFIX):
        raise ValueError(f"Unsupported database URL '{url}'.")
    path = url[len(PREFIX) :]
    if path == ":memory:":
        return None
    lock = open(f"{path}.lock", "a", encoding="ascii")  # noqa: SIM115 (open for as long as the process lives)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise LockedError(f"Could not acquire lock on database '{os.path.abspath(path)}'.") from error
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        migrate(connection, path)
        if behaviour.is_recent:
            connection.execute("INSERT INTO standin (version) VALUES (?)", [__version__])
        else:
            connection.execute("INSERT INTO standin DEFAULT VALUES")
    return lock


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the database to the last revision that this release has. A copy of the older one stays beside it.

    Raises ValueError for a revision of a newer release, and sqlite3.Error when a migration fails; then nothing changes.
    """
    connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT NOT NULL)")
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row and row[0] not in behaviour.revisions:
        raise ValueError(f"Can't locate revision identified by '{row[0]}'")
    done = behaviour.revisions.index(row[0]) + 1 if row else 0
    missing = behaviour.revisions[done:]
    if not missing:
        return
    if row:
        shutil.copy(path, f"{path}.bkp")
    connection.execute("BEGIN")
    try:
        for revision in missing:
            connection.execute(MIGRATIONS[revision])
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES (?)", missing[-1:])
    except sqlite3.Error as error:
        logging.error("Error upgrading database: %s", error)
        connection.rollback()
        raise
    connection.commit()
    logging.info("Database upgraded from %s to %s", row[0] if row else None, missing[-1])
