# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the database, its transactions and its clock. The same code for SQLite and PostgreSQL.

The database decides what time it is: hosts may disagree about that, and a lease has to mean the same to all of them.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from noslop_backend.core.errors import ConfigurationError, DatabaseUnavailableError

#: Shorter than the 30 s within which a client gets an answer.
LOCK_TIMEOUT_S = 20.0
#: Beside it, how long to wait for one of the pool's connections: both together are still shorter.
_POOL_TIMEOUT_S = 5.0
#: WAL needs memory that is shared between processes, which these cannot give (https://www.sqlite.org/wal.html).
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "beegfs", "ocfs2", "gfs2"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.juicefs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone"}
)
_OCTAL = re.compile(r"\\([0-7]{3})")
_MOMENT = "noslop.moment"
_SQLITE_NOW = text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")
_POSTGRESQL_NOW = text("SELECT clock_timestamp()")


class _DbapiConnection(Protocol):
    """The part of a raw sqlite3 connection that is used."""

    isolation_level: str | None

    def execute(self, sql: str) -> object: ...


class Database:
    """One database and its pool of connections; safe to use from several threads."""

    def __init__(self, url: str, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        """Make the engine; nothing is connected yet.

        Args:
            url: SQLite's or PostgreSQL's address.
            lock_timeout_s: how long a statement waits for what another transaction holds.

        Raises:
            ConfigurationError: the address is not understood, or is a SQLite file on a network file system.
        """
        try:
            self.url = make_url(url)
        except ArgumentError as error:
            raise ConfigurationError(
                "NOSLOP_DATABASE_URL is not understood. Use sqlite:////absolute/path or "
                "postgresql+psycopg://user@host/name."
            ) from error
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.lock_timeout_s = lock_timeout_s
        make = _sqlite if self.is_sqlite else _postgresql
        self.engine = make(self.url, lock_timeout_s)
        self._writing = self.engine.execution_options(noslop_writes=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that sees one state and changes nothing."""
        with self._translated(), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction, committed at the end of the block and undone by an exception.

        On SQLite no other process writes meanwhile (BEGIN IMMEDIATE). On PostgreSQL rows are locked as they change; to
        never wait in a circle they are locked in this order: project, intent, everything else, store.
        """
        with self._translated(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as error:
            raise DatabaseUnavailableError(
                "No connection of the database became free in time. Send it again a little later, with the same key."
            ) from error
        except (IntegrityError, ProgrammingError, DataError):
            # About what was asked, not about the database.
            raise
        except DBAPIError as error:
            raise DatabaseUnavailableError(
                f"{self._describe(error)} Nothing was acknowledged: send it again, with the same key."
            ) from error

    def _describe(self, error: DBAPIError) -> str:
        """Return an error of the driver in words that a person can act on."""
        text = str(error.orig).strip()
        if "database is locked" in text or "lock timeout" in text:
            return f"Another process kept the database locked for {self.lock_timeout_s:g} s ({text})."
        if "database or disk is full" in text or "No space left on device" in text:
            return f"The disk that the database lies on is full ({text}). Free space there."
        return f"The database does not answer ({text}). See that it runs and that its disk is sound."


def protect_files(database: Database) -> None:
    """Close a SQLite database, its logs and its directory to all other accounts. Does nothing on PostgreSQL.

    Raises:
        ConfigurationError: one of them belongs to another account, which then decides what the database says.
    """
    if not database.is_sqlite:
        return
    path = Path(database.url.database or "")
    # The administrator may have moved the directory to another disk, and put a link in its place.
    directory = path.parent.resolve()
    _protect(directory, 0o700)
    for ending in ("", "-wal", "-shm"):
        _protect(directory / f"{path.name}{ending}", 0o600)


def _protect(path: Path, mode: int) -> None:
    try:
        # O_PATH: closing another descriptor of the database would give up all locks that this process has on it
        # (https://www.sqlite.org/howtocorrupt.html, 2.2). By the descriptor, so that the check and the change are
        # about the same file.
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"The database's {path} cannot be looked at: {error.strerror}.") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISLNK(status.st_mode):
            raise ConfigurationError(
                f"The database's {path} is a link, so another account may decide where it leads. Name the file itself "
                "in NOSLOP_DATABASE_URL."
            )
        if status.st_uid != os.geteuid():
            raise ConfigurationError(
                f"The database's {path} belongs to the uid {status.st_uid}, and this runs as {os.geteuid()}: its "
                "owner can change tokens and projects. If it came from another host or an older version, give it to "
                "the service's account (chown); else look who put it there. Nothing was opened."
            )
        if stat.S_IMODE(status.st_mode) & ~mode & 0o7777:
            os.chmod(f"/proc/self/fd/{descriptor}", mode)
    finally:
        os.close(descriptor)


def clock(session: Session) -> datetime:
    """Return the time by the database's clock. It is asked once in a session: a transaction has one moment."""
    moment: datetime | None = session.info.get(_MOMENT)
    if moment is None:
        connection = session.connection()
        if connection.dialect.name == "sqlite":
            text = connection.execute(_SQLITE_NOW).scalar_one()
            moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        else:
            moment = connection.execute(_POSTGRESQL_NOW).scalar_one().astimezone(UTC)
        session.info[_MOMENT] = moment
    return moment


def filesystem_type(path: Path, mountinfo: str) -> str:
    """Return the type of the file system that `path` (without links) lies on, by /proc/self/mountinfo (proc(5))."""
    kind, length = "unknown", -1
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = Path(_OCTAL.sub(lambda match: chr(int(match.group(1), 8)), fields[4]))
        # The last of several mounts on one point is the one that is seen.
        if path.is_relative_to(point) and len(point.parts) >= length:
            kind, length = after.split(" ", 1)[0], len(point.parts)
    return kind


def _sqlite(url: URL, lock_timeout_s: float) -> Engine:
    name = url.database or ""
    if not os.path.isabs(name):
        raise ConfigurationError(
            f"NOSLOP_DATABASE_URL names no absolute path ({name or 'nothing'}): the service, the timers and the "
            "command line would each open another database. Use sqlite:////absolute/path."
        )
    path = Path(name).resolve()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        kind = filesystem_type(path, stream.read())
    if kind in NETWORK_TYPES:
        raise ConfigurationError(
            f"The database {path} lies on a network file system ({kind}), where SQLite's write-ahead log loses data. "
            "Put it on a local disk, or use PostgreSQL when several hosts serve (NOSLOP_DATABASE_URL)."
        )
    arguments = {"timeout": lock_timeout_s, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, pool_size=16, pool_timeout=_POOL_TIMEOUT_S)

    @event.listens_for(engine, "connect")
    def configure(connection: _DbapiConnection, _record: object) -> None:
        # The driver begins nothing by itself, so that `begin` below decides.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("noslop_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL, lock_timeout_s: float) -> Engine:
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"NOSLOP_DATABASE_URL names {url.get_backend_name()!r}; sqlite and postgresql+psycopg are supported."
        )
    lock_ms = math.ceil(lock_timeout_s * 1000)
    options: dict[str, Any] = {
        # libpq knows whole seconds, and takes fewer than two for two.
        "connect_timeout": max(2, math.ceil(lock_timeout_s)),
        # A server whose host went away without a word is given up after as long (tcp(7), TCP_USER_TIMEOUT).
        "tcp_user_timeout": lock_ms,
        "options": f"-c lock_timeout={lock_ms} -c idle_in_transaction_session_timeout={3 * lock_ms}",
    }
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=options,
        pool_pre_ping=True,
        pool_size=16,
        pool_timeout=_POOL_TIMEOUT_S,
    )
