# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the database on the share, and a database made of one.

They lie in `.backups` beside the projects: hidden, since the root has no other visible entries than projects, and on
the same share, since a copy of the one is worth little without the other. A copy has its name only when it is whole
and on the disk, and its checksum lies there before it.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from glob import glob
from pathlib import Path
from typing import IO

from blake3 import blake3
from sqlalchemy import inspect
from sqlalchemy.engine import URL

from noslop_backend.crud import JobCRUD
from noslop_backend.database import Database, clock
from noslop_backend.errors import (
    ConfigurationError,
    ConflictError,
    ContentMismatchError,
    DatabaseUnavailableError,
    InvalidRequestError,
    NotFoundError,
)
from noslop_backend.files import CHUNK_BYTES, Share, beside
from noslop_backend.settings import Settings
from noslop_backend.storage import Core

JOB = "backup"
KEPT = 14
SQLITE, POSTGRESQL = "sqlite3", "dump"
CHECKSUM = ".blake3"
_NAME = re.compile(r"backend-(?P<time>[0-9]{8}T[0-9]{12}Z)-[0-9a-f]{6}\.(?:sqlite3|dump)", re.ASCII)
#: To the microsecond: the newest of several in one second must be known as such, or it would be thinned out.
_TIME = "%Y%m%dT%H%M%S%fZ"
_SQLITE_MAGIC, _POSTGRESQL_MAGIC = b"SQLite format 3\0", b"PGDMP"
#: Whoever writes a copy for longer than this is dead.
_PART_AGE = timedelta(days=1)


@dataclass
class BackupReport:
    """A copy of the database, and which older ones went for it."""

    name: str
    path: Path
    size_bytes: int
    blake3: str
    removed: list[str] = field(default_factory=list)


@dataclass
class RestoreReport:
    """What a database was made of."""

    source: Path
    size_bytes: int
    blake3: str
    database: str


def backup(core: Core, *, keep: int = KEPT) -> BackupReport:
    """Copy the database to the share, whole and as it was at one moment, while others go on writing.

    Args:
        core: the service.
        keep: so many copies stay, this one included.

    Raises:
        ConfigurationError: PostgreSQL's pg_dump is not installed.
        DatabaseUnavailableError: the copy failed, or is not sound.
        ShareUnavailableError, StorageFullError: nothing was removed, older copies are as they were.
    """
    if keep < 1:
        raise InvalidRequestError(f"At least one copy is kept, not {keep}.")
    database = core.database
    suffix = SQLITE if database.is_sqlite else POSTGRESQL
    # On the same disk as the database: there is room for another of its size, or soon for neither.
    beside_it = Path(database.url.database or "").parent if database.is_sqlite else None
    with core.share() as share, tempfile.TemporaryDirectory(prefix=".backup-", dir=beside_it) as directory:
        copy = Path(directory, f"copy.{suffix}")
        if database.is_sqlite:
            _copy_sqlite(Path(database.url.database or ""), copy, database.lock_timeout_s)
        else:
            _dump_postgresql(database.url, copy)
        with database.read() as session:
            moment = clock(session)
        name = f"backend-{moment.strftime(_TIME)}-{secrets.token_hex(3)}.{suffix}"
        report = _publish(share, copy, name)
        with beside.opened(share, beside.BACKUPS) as place:
            assert place is not None
            report.removed = _thin_out(place, keep, moment)
    with database.write() as session:
        JobCRUD(session).remember(JOB, clock(session))
    return report


def copies(core: Core) -> list[str]:
    """Names of the copies on the share, the newest first."""
    with core.share() as share, beside.opened(share, beside.BACKUPS) as place:
        return _copies(place) if place is not None else []


def restore(settings: Settings, source: Path, *, unchecked: bool = False) -> RestoreReport:
    """Make the database that the settings name of a copy. It must not exist, or on PostgreSQL have no table.

    Args:
        settings: where the database is to be.
        source: the copy; its checksum lies beside it.
        unchecked: go on without a checksum.

    Raises:
        ConflictError: there is a database already, or the copy is another studio's.
        ContentMismatchError: the copy is damaged.
    """
    database = Database(settings.database_url)
    try:
        size, digest = _verify(source, unchecked)
        with source.open("rb") as stream:
            magic = stream.read(16)
        if database.is_sqlite:
            _need_magic(source, magic, _SQLITE_MAGIC, "SQLite")
            _restore_sqlite(settings, source, Path(database.url.database or ""))
        else:
            _need_magic(source, magic, _POSTGRESQL_MAGIC, "PostgreSQL")
            _restore_postgresql(database, source)
        return RestoreReport(source, size, digest, database.url.render_as_string(hide_password=True))
    finally:
        database.close()


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
            f"Copying the database {source} failed: {error}. Nothing was written to the share; try again."
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
            f"{'; '.join(problems[:3])}{f'; stray row {strays}' if strays else ''}. "
            "It was not kept. Stop the service, keep the database as it is, and restore an older copy or rebuild "
            "it from the share."
        )


def program(name: str) -> str:
    """Find one of PostgreSQL's programs; Debian keeps those of each version apart.

    Raises:
        ConfigurationError: it is not installed.
    """
    versions = sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: float(path.split("/")[4]))
    found = versions[-1] if versions else shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"{name} is not installed on this host, and PostgreSQL's databases are copied with it. Install Debian's "
            "postgresql-client of at least the server's version, then try again."
        )
    return found


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
        said = " ".join(done.stderr.strip().splitlines()[-3:]) or f"exit code {done.returncode}"
        raise DatabaseUnavailableError(
            f"{doing} failed ({os.path.basename(command[0])}: {said}). Put that right, then try again."
        )


def _dump_postgresql(url: URL, target: Path) -> None:
    dump = [program("pg_dump"), "--format=custom", "--no-owner", "--no-password", f"--file={target}"]
    _run(dump, url, "Copying the database")
    listing = subprocess.run([program("pg_restore"), "--list", str(target)], capture_output=True, check=False)
    if listing.returncode:
        raise DatabaseUnavailableError(
            "The copy of the database cannot be read back (pg_restore --list). It was not kept."
        )


def _publish(share: Share, copy: Path, name: str) -> BackupReport:
    with beside.opened(share, beside.BACKUPS, make=True) as place, copy.open("rb") as stream:
        assert place is not None
        digest = _hash(stream)
        beside.store(place, name + CHECKSUM, io.BytesIO(f"{digest}  {name}\n".encode()))
        stream.seek(0)
        written = beside.store(place, name, stream)
        if written != digest:
            beside.remove(place, [name, name + CHECKSUM])
            raise DatabaseUnavailableError(
                "The copy changed while it was written to the share. It was not kept; try again."
            )
        return BackupReport(name, place.root / name, copy.stat().st_size, digest)


def made_at(name: str) -> datetime:
    """When a copy was made, by its name."""
    found = _NAME.fullmatch(name)
    assert found is not None
    return datetime.strptime(found["time"], _TIME).replace(tzinfo=UTC)


def _copies(place: Share) -> list[str]:
    return sorted((name for name in beside.names(place) if _NAME.fullmatch(name)), reverse=True)


def _thin_out(place: Share, keep: int, now: datetime) -> list[str]:
    """Remove all but the newest copies, and what writers that died have left.

    Copies whose time lies ahead were made while the clock was wrong, before the one that was made just now: they count
    as older than all others.
    """
    there = sorted(_copies(place), key=lambda name: (made_at(name) <= now, name), reverse=True)
    old, kept = there[keep:], set(there[:keep])
    for name in beside.names(place):
        whole = name.removesuffix(".part").removesuffix(CHECKSUM)
        if _NAME.fullmatch(whole) is None or whole in kept or whole in old:
            continue
        if abs(now - made_at(whole)) > _PART_AGE:
            old.append(name)
    beside.remove(place, [each for name in old for each in (name, name + CHECKSUM)])
    return [name for name in old if _NAME.fullmatch(name)]


def _verify(source: Path, unchecked: bool) -> tuple[int, str]:
    try:
        with source.open("rb") as stream:
            digest = _hash(stream)
            size = stream.tell()
    except OSError as error:
        raise NotFoundError(f"{source} cannot be read: {error.strerror}. Name a copy of the database.") from error
    said = ""
    with suppress(FileNotFoundError):
        said = (
            source.with_name(source.name + CHECKSUM).read_text(encoding="ascii", errors="replace").split(" ")[0].strip()
        )
    if not said and not unchecked:
        raise ContentMismatchError(
            f"{source} has no checksum beside it ({source.name}{CHECKSUM}), so nobody can tell whether it is "
            "whole. Bring that file "
            "too, or say --unchecked."
        )
    if said and said != digest:
        raise ContentMismatchError(
            f"{source} is damaged: its BLAKE3 is {digest}, and {said} was written down. Take another copy."
        )
    return size, digest


def _hash(stream: IO[bytes]) -> str:
    hasher = blake3()
    while piece := stream.read(CHUNK_BYTES):
        hasher.update(piece)
    return hasher.hexdigest()


def _need_magic(source: Path, seen: bytes, wanted: bytes, kind: str) -> None:
    if not seen.startswith(wanted):
        raise InvalidRequestError(
            f"{source} is no copy of a {kind} database, and NOSLOP_DATABASE_URL names one. Set that to the kind "
            "of database "
            "that the copy is of."
        )


def _restore_sqlite(settings: Settings, source: Path, target: Path) -> None:
    for path in (target, Path(f"{target}-wal"), Path(f"{target}-journal")):
        if os.path.lexists(path):
            raise ConflictError(
                f"{path} is there already, and nothing is written over. Stop the service and move it away (with "
                "the files "
                f"{target.name}-wal and {target.name}-shm, if they are there), then try again."
            )
    if not target.parent.is_dir():
        raise ConfigurationError(f"There is no directory {target.parent} for the database. Make it, then try again.")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with source.open("rb") as stream, open(part, "xb", opener=_private) as copy:
            shutil.copyfileobj(stream, copy, CHUNK_BYTES)
            copy.flush()
            os.fsync(copy.fileno())
        _check_sqlite(part, str(source))
        _same_studio(settings, part, source)
        try:
            os.link(part, target)
        except FileExistsError as error:
            raise ConflictError(f"{target} was made meanwhile by somebody else. Nothing was written over.") from error
    finally:
        part.unlink(missing_ok=True)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _same_studio(settings: Settings, copy: Path, source: Path) -> None:
    try:
        with closing(sqlite3.connect(copy)) as opened:
            row = opened.execute("SELECT studio_id FROM store").fetchone()
    except sqlite3.Error as error:
        raise InvalidRequestError(f"{source} is a SQLite database, but none of a backend: {error}.") from error
    if row is not None and row[0] not in {None, settings.studio_id}:
        raise ConflictError(
            f"{source} is the database of the studio {row[0]!r}, and this is {settings.studio_id!r}. Take a copy "
            "of this studio's, or "
            "set NOSLOP_STUDIO_ID."
        )


def _restore_postgresql(database: Database, source: Path) -> None:
    with database.read() as session:
        tables = inspect(session.connection()).get_table_names()
    if tables:
        raise ConflictError(
            f"The database {database.url.database} has tables already ({', '.join(sorted(tables)[:3])} and "
            "others), and nothing is "
            "written over. Make a new database (createdb), name it in NOSLOP_DATABASE_URL, and try again."
        )
    command = [program("pg_restore"), "--no-owner", "--no-password", "--exit-on-error", "--single-transaction"]
    database.close()
    _run([*command, str(source)], database.url, "Making the database of the copy")
