# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database: engines, transactions and the clock. The same code for SQLite and PostgreSQL.

The database decides what time it is: hosts may disagree about that, and a lease has to mean the same to all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlmodel import Session

from noslop_backend.errors import ConfigurationError, DatabaseUnavailableError

#: Shorter than the 30 s within which a client gets an answer.
LOCK_TIMEOUT_S = 20
#: WAL needs memory that is shared between processes, which these cannot give (https://www.sqlite.org/wal.html).
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "beegfs", "ocfs2", "gfs2"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.juicefs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone"}
)
_OCTAL = re.compile(r"\\([0-7]{3})")


class _DbapiConnection(Protocol):
    """What is used of a raw sqlite3 connection."""

    isolation_level: str | None

    def execute(self, sql: str) -> object: ...


class Database:
    """One database and its pool of connections; safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Make the engine; nothing is connected yet.

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
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)
        self._writing = self.engine.execution_options(noslop_writes=True)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that sees one state and changes nothing."""
        with _translated(), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction, committed at the end of the block and undone by an exception.

        On SQLite nobody else writes meanwhile (BEGIN IMMEDIATE). On PostgreSQL rows are locked as they are changed; to
        never wait in a circle they are taken in this order: project, intent, everything else, store.
        """
        with _translated(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailableError(
            f"The database does not answer, or stayed locked for {LOCK_TIMEOUT_S} s: {error.orig}. "
            "Nothing was acknowledged: send it again, with the same key."
        ) from error


def clock(session: Session) -> datetime:
    """Tell the time by the database's clock."""
    if session.get_bind().dialect.name == "sqlite":
        said = session.connection().execute(text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")).scalar_one()
        return datetime.fromisoformat(said).replace(tzinfo=UTC)
    moment: datetime = session.connection().execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment.astimezone(UTC)


def filesystem_type(path: Path, mountinfo: str) -> str:
    """Type of the file system that `path` (without links) lies on, by the text of /proc/self/mountinfo (proc(5))."""
    found, length = "unknown", -1
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = Path(_OCTAL.sub(lambda match: chr(int(match.group(1), 8)), fields[4]))
        # The last of several mounts on one point is the one that is seen.
        if path.is_relative_to(point) and len(point.parts) >= length:
            found, length = after.split(" ", 1)[0], len(point.parts)
    return found


def _sqlite(url: URL) -> Engine:
    name = url.database or ""
    if not os.path.isabs(name):
        raise ConfigurationError(
            f"NOSLOP_DATABASE_URL names no absolute path ({name or 'nothing'}): the service, the timers and the "
            "command line "
            "would each open another database. Use sqlite:////absolute/path."
        )
    path = Path(name).resolve()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        kind = filesystem_type(path, stream.read())
    if kind in NETWORK_TYPES:
        raise ConfigurationError(
            f"The database {path} lies on a network file system ({kind}), where SQLite's write-ahead log loses data. "
            "Put it on a local disk, or use PostgreSQL when several hosts serve (NOSLOP_DATABASE_URL)."
        )
    engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT_S, "check_same_thread": False}, pool_size=16)

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


def _postgresql(url: URL) -> Engine:
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"NOSLOP_DATABASE_URL names {url.get_backend_name()!r}; sqlite and postgresql+psycopg are supported."
        )
    options: dict[str, Any] = {
        "connect_timeout": LOCK_TIMEOUT_S,
        "options": f"-c lock_timeout={LOCK_TIMEOUT_S}s -c idle_in_transaction_session_timeout={3 * LOCK_TIMEOUT_S}s",
    }
    return create_engine(
        url.set(drivername="postgresql+psycopg"), connect_args=options, pool_pre_ping=True, pool_size=16
    )
