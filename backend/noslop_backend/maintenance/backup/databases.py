# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a database to a file, and make one of it, by the database's own means.

Owns: SQLite's backup interface, pg_dump and pg_restore. Never: where backups lie, and whether one is authentic.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from glob import glob
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import URL

from noslop_backend.core.database import Database
from noslop_backend.core.errors import ConfigurationError, ConflictError, DatabaseUnavailableError, InvalidRequestError
from noslop_backend.core.settings import Settings

SQLITE, POSTGRESQL = "sqlite3", "dump"
_SQLITE_MAGIC, _POSTGRESQL_MAGIC = b"SQLite format 3\0", b"PGDMP"


def copy(database: Database, target: Path) -> None:
    """Copy a database to a new file, whole and as it was at one moment, while others go on writing.

    Raises:
        ConfigurationError: PostgreSQL's pg_dump is not installed.
        DatabaseUnavailableError: the copy failed, or is not sound.
    """
    if database.is_sqlite:
        _copy_sqlite(Path(database.url.database or ""), target, database.lock_timeout_s)
    else:
        _dump_postgresql(database.url, target)


def suffix(database: Database) -> str:
    """Return how names of copies end."""
    return SQLITE if database.is_sqlite else POSTGRESQL


def require_no_database(database: Database) -> None:
    """Reject to write over a database.

    Raises:
        ConflictError: there is one already; on PostgreSQL, one with tables.
        ConfigurationError: there is no directory for it.
    """
    if not database.is_sqlite:
        with database.read() as session:
            tables = inspect(session.connection()).get_table_names()
        if tables:
            raise ConflictError(
                f"The database {database.url.database} has tables already ({', '.join(sorted(tables)[:3])} and "
                "others), and nothing is written over. Make a new database (createdb), name it in NOSLOP_DATABASE_URL, "
                "and try again."
            )
        return
    target = Path(database.url.database or "")
    for path in (target, Path(f"{target}-wal"), Path(f"{target}-journal")):
        if os.path.lexists(path):
            raise ConflictError(
                f"{path} is there already, and nothing is written over. Stop the service and move it away (with "
                f"the files {target.name}-wal and {target.name}-shm, if they are there), then try again."
            )
    if not target.parent.is_dir():
        raise ConfigurationError(f"There is no directory {target.parent} for the database. Make it, then try again.")


def make(settings: Settings, database: Database, private: Path, source: Path) -> None:
    """Make a database of a copy.

    Args:
        settings: name the studio that it has to belong to.
        database: what is made.
        private: the copy, where no other account writes; for SQLite on the file system of the database.
        source: where it came from, for messages.
    """
    with private.open("rb") as stream:
        magic = stream.read(16)
    if database.is_sqlite:
        _need_magic(source, magic, _SQLITE_MAGIC, "SQLite")
        _make_sqlite(settings, private, Path(database.url.database or ""), source)
    else:
        _need_magic(source, magic, _POSTGRESQL_MAGIC, "PostgreSQL")
        command = [program("pg_restore"), "--no-owner", "--no-password", "--exit-on-error", "--single-transaction"]
        database.close()
        _run([*command, str(private)], database.url, "Making the database of the copy")


def _copy_sqlite(source: Path, target: Path, lock_timeout_s: float) -> None:
    """Copy by SQLite's own means in one step: it reads one state, and writers go on (sqlite.org/backup.html).

    In several steps it would begin anew whenever another process writes.
    """
    if not source.is_file():
        raise DatabaseUnavailableError(f"There is no database {source}. Migrate it first: noslop-backend migrate.")
    try:
        with (
            closing(sqlite3.connect(source, timeout=lock_timeout_s)) as original,
            closing(sqlite3.connect(target)) as copy,
        ):
            original.backup(copy, pages=-1)
            # One file that needs no log beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise DatabaseUnavailableError(
            f"Copying the database {source} failed: {error}. No backup was made; try again."
        ) from error
    _check_sqlite(target, f"the copy of {source}")


def _check_sqlite(path: Path, what: str) -> None:
    try:
        with closing(sqlite3.connect(path)) as copy:
            problems = [str(row[0]) for row in copy.execute("PRAGMA integrity_check")]
            strays = copy.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        problems, strays = [str(error)], None
    if problems != ["ok"] or strays is not None:
        raise DatabaseUnavailableError(
            f"SQLite says that {what} is not sound: "
            f"{'; '.join(problems[:3])}{f'; stray row {strays}' if strays else ''}. It was not kept. Stop the service, "
            "keep the database as it is, and restore an older copy or rebuild it from the share."
        )


def program(name: str) -> str:
    """Find one of PostgreSQL's programs; Debian keeps those of each version apart.

    Raises:
        ConfigurationError: it is not installed.
    """
    versions = sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: float(path.split("/")[4]))
    newest = versions[-1] if versions else shutil.which(name)
    if newest is None:
        raise ConfigurationError(
            f"{name} is not installed on this host, and PostgreSQL's databases are copied with it. Install Debian's "
            "postgresql-client of at least the server's version, then try again."
        )
    return newest


def _run(command: list[str], url: URL, doing: str) -> None:
    """Run one of PostgreSQL's programs; the password goes by the environment, where other users do not see it."""
    plain = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = dict(os.environ)
    if url.password:
        environment["PGPASSWORD"] = str(url.password)
    done = subprocess.run(
        [*command, f"--dbname={plain}"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        message = " ".join(done.stderr.strip().splitlines()[-3:]) or f"exit code {done.returncode}"
        raise DatabaseUnavailableError(
            f"{doing} failed ({os.path.basename(command[0])}: {message}). Put that right, then try again."
        )


def _dump_postgresql(url: URL, target: Path) -> None:
    dump = [program("pg_dump"), "--format=custom", "--no-owner", "--no-password", f"--file={target}"]
    _run(dump, url, "Copying the database")
    listing = subprocess.run([program("pg_restore"), "--list", str(target)], capture_output=True, check=False)
    if listing.returncode:
        raise DatabaseUnavailableError(
            "The copy of the database cannot be read back (pg_restore --list). It was not kept."
        )


def _need_magic(source: Path, head: bytes, expected: bytes, kind: str) -> None:
    if not head.startswith(expected):
        raise InvalidRequestError(
            f"{source} is no copy of a {kind} database, and NOSLOP_DATABASE_URL names one. Set that to the kind of "
            "database that the copy is of."
        )


def _make_sqlite(settings: Settings, private: Path, target: Path, source: Path) -> None:
    _check_sqlite(private, str(source))
    _same_studio(settings, private, source)
    try:
        os.link(private, target)
    except FileExistsError as error:
        raise ConflictError(f"{target} was made meanwhile by somebody else. Nothing was written over.") from error
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same_studio(settings: Settings, copy: Path, source: Path) -> None:
    try:
        with closing(sqlite3.connect(copy)) as opened:
            row = opened.execute("SELECT studio_id FROM store").fetchone()
    except sqlite3.Error as error:
        raise InvalidRequestError(f"{source} is a SQLite database, but none of a backend: {error}.") from error
    if row is not None and row[0] not in {None, settings.studio_id}:
        raise ConflictError(
            f"{source} is the database of the studio {row[0]!r}, and this is {settings.studio_id!r}. Take a copy of "
            "this studio's, or set NOSLOP_STUDIO_ID."
        )
