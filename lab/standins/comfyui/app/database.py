# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the SQLite database of one process, in WAL mode and with a lock that rejects a second process."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from typing import TextIO

PREFIX = "sqlite:///"


class LockedError(Exception):
    """A failure because another process uses the database."""


def open_database(url: str) -> TextIO | None:
    """Create the database unless it exists, and return the locked file, which must stay open (None in memory).

    Raises LockedError, ValueError for another kind of database, and OSError or sqlite3.Error when it cannot be made.
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
        connection.execute("CREATE TABLE IF NOT EXISTS standin (started TEXT DEFAULT CURRENT_TIMESTAMP)")
        connection.execute("INSERT INTO standin DEFAULT VALUES")
    return lock
