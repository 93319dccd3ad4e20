# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back the database up, and make a database of a backup.

They lie beside the database, in a directory that no host mounts, and each has a keyed checksum: an account that can
write where a backup lies, or where a second one was copied to, cannot make one that this studio accepts as its own.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3
from sqlalchemy import inspect

from noslop_backend.core.database import Database, clock
from noslop_backend.core.errors import ContentMismatchError, InvalidRequestError, NotFoundError
from noslop_backend.core.settings import Settings
from noslop_backend.journal import audit
from noslop_backend.maintenance.backup import databases, directory
from noslop_backend.maintenance.backup import key as keys
from noslop_backend.maintenance.backup.databases import program
from noslop_backend.maintenance.backup.directory import CHECKSUM, MAC
from noslop_backend.maintenance.backup.key import Key, Mac
from noslop_backend.repositories import JobRepository
from noslop_backend.services import ProjectStorage
from noslop_backend.share import CHUNK_BYTES, hidden_dirs

__all__ = ["CHECKSUM", "KEPT", "MAC", "Key", "backup", "copies", "old_copies", "own_key", "program", "restore"]

JOB = "backup"
KEPT = 14


@dataclass
class BackupReport:
    """A copy of the database, and the older ones that were removed for it."""

    name: str
    path: Path
    size_bytes: int
    mac: str
    key_id: str
    #: Where else it lies.
    second: Path | None = None
    removed: list[str] = field(default_factory=list)


@dataclass
class RestoreReport:
    """The copy that a database was made of."""

    source: Path
    size_bytes: int
    authenticated: bool
    database: str


def own_key(settings: Settings) -> Key:
    """Return this studio's key, made at its first use."""
    with directory.opened(settings.backup_dir, own=True):
        return keys.load_or_make(settings.backup_key_file)


def backup(core: ProjectStorage, *, keep: int = KEPT, to: Path | None = None) -> BackupReport:
    """Copy the database, whole and as it was at one moment, while others go on writing. Needs no share.

    Args:
        core: the service.
        keep: so many copies stay, this one included.
        to: a second directory to write it to. Nothing is ever removed there.

    Raises:
        ConfigurationError: PostgreSQL's pg_dump is not installed, or a directory or the key cannot be used.
        DatabaseUnavailableError: the copy failed, or is not sound.
        ConflictError: a directory takes no more; older copies are as they were.
    """
    if keep < 1:
        raise InvalidRequestError(f"At least one copy is kept, not {keep}.")
    database, place = core.database, core.settings.backup_dir
    with directory.opened(place, own=True) as own, tempfile.TemporaryDirectory(prefix=directory.WORK, dir=place) as at:
        secret = keys.load_or_make(core.settings.backup_key_file)
        copy = Path(at, "copy")
        databases.copy(database, copy)
        with database.read() as session:
            moment = clock(session)
        name = directory.name_of(moment, secrets.token_hex(3), databases.suffix(database))
        with copy.open("rb") as stream:
            mac = own.store(name, stream, secret)
            report = BackupReport(name, place / name, copy.stat().st_size, mac.value, mac.key_id)
            report.removed = own.thin_out(keep, moment)
            if to is not None:
                stream.seek(0)
                with directory.opened(to, own=False) as second:
                    second.store(name, stream, secret)
                report.second = to / name
    with database.write() as session:
        now = clock(session)
        JobRepository(session).remember(JOB, now)
        audit.record(session, now, JOB, details={"name": name, "second": str(to) if to else None})
    return report


def copies(settings: Settings) -> list[Path]:
    """Return all backups in the studio's own directory, the newest first."""
    with directory.opened(settings.backup_dir, own=True) as own:
        return [own.path / name for name in own.names()]


def old_copies(core: ProjectStorage) -> list[Path]:
    """Return the backups that versions before left on the share, the newest first. Workers can write them."""
    with core.share() as share, hidden_dirs.opened(share, hidden_dirs.BACKUPS) as place:
        names = hidden_dirs.names(place) if place is not None else []
        return sorted(
            (share.root / hidden_dirs.BACKUPS / name for name in names if directory.is_name(name)), reverse=True
        )


def restore(
    settings: Settings, source: Path, *, secret: Key | None = None, unauthenticated: bool = False
) -> RestoreReport:
    """Make the database that the settings name of a copy. It must not exist, or on PostgreSQL have no table.

    The copy is taken to a private place first, and compared with its keyed checksum before anything reads it.

    Args:
        settings: where the database is to be.
        source: the copy; its keyed checksum lies beside it.
        secret: the key that it was made with; by default this studio's.
        unauthenticated: accept one without a keyed checksum, which any account could have made.

    Raises:
        ConflictError: there is a database already, or the copy is another studio's.
        ContentMismatchError: the copy is damaged, or nothing proves that this studio made it.
    """
    with _opened(source) as stream:
        return _restore(settings, source, stream, secret=secret, unauthenticated=unauthenticated)


def _restore(
    settings: Settings, source: Path, stream: BinaryIO, *, secret: Key | None, unauthenticated: bool
) -> RestoreReport:
    database = Database(settings.database_url)
    # For SQLite on the same file system: the database is a link to it.
    beside_it = Path(database.url.database or "").parent if database.is_sqlite else None
    try:
        databases.require_no_database(database)
        if not unauthenticated and secret is None and (secret := keys.load(settings.backup_key_file)) is None:
            raise ContentMismatchError(
                f"This host has no key to check a backup with ({settings.backup_key_file}). Bring the key that it was "
                "made with (--key-file FILE). Only for backups of the versions before, which had none, and only if you "
                "trust everybody who could write there: --unauthenticated."
            )
        with tempfile.TemporaryDirectory(prefix=directory.WORK, dir=beside_it) as at:
            private = Path(at, "copy")
            if unauthenticated:
                _copy_unauthenticated(source, stream, private)
            else:
                assert secret is not None
                _copy_authentic(source, stream, private, secret)
            databases.make(settings, database, private, source)
            report = RestoreReport(
                source, private.stat().st_size, not unauthenticated, database.url.render_as_string(hide_password=True)
            )
        _log(database, source.name, authenticated=not unauthenticated)
        return report
    finally:
        database.close()


def _copy_authentic(source: Path, stream: BinaryIO, private: Path, secret: Key) -> None:
    """Copy a backup to a private file and check its keyed checksum there, where no other account can change it."""
    mac = Mac.parse(_beside(source, MAC))
    if mac is None:
        raise ContentMismatchError(
            f"{source} has no keyed checksum beside it ({source.name}{MAC}), so nothing proves that this studio made "
            "it. Bring that file too. Only for backups of the versions before, which had none, and only if you trust "
            "everybody who could write there: --unauthenticated."
        )
    if mac.key_id != secret.id:
        raise ContentMismatchError(
            f"{source} was made with the key {mac.key_id}, and this is the key {secret.id}. Bring the key that it was "
            "made with (--key-file FILE)."
        )
    if mac.name != source.name:
        raise ContentMismatchError(f"{source} was named {mac.name} when it was made. Give it that name again.")
    hasher = secret.hasher(source.name)
    _copied(stream, private, hasher)
    if not secrets.compare_digest(hasher.hexdigest(), mac.value):
        raise ContentMismatchError(
            f"{source} is not what this studio wrote: it is damaged, or was changed. Use another backup."
        )


def _copy_unauthenticated(source: Path, stream: BinaryIO, private: Path) -> None:
    """Copy a backup of the versions before; its checksum tells of damage, and of nothing else."""
    expected = _beside(source, CHECKSUM).split(" ")[0].strip()
    hasher = blake3()
    _copied(stream, private, hasher)
    if expected and hasher.hexdigest() != expected:
        raise ContentMismatchError(
            f"{source} is damaged: its BLAKE3 is {hasher.hexdigest()}, and {expected} was recorded. Use another backup."
        )


def _opened(source: Path) -> BinaryIO:
    try:
        return source.open("rb")
    except OSError as error:
        raise NotFoundError(f"{source} cannot be read: {error.strerror}. Name a backup of the database.") from error


def _copied(stream: BinaryIO, private: Path, hasher: blake3) -> None:
    with open(private, "xb", opener=_private) as target:
        while piece := stream.read(CHUNK_BYTES):
            hasher.update(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())


def _beside(source: Path, ending: str) -> str:
    """Read the small file beside a backup; empty when there is none."""
    with suppress(FileNotFoundError), source.with_name(source.name + ending).open("rb") as stream:
        return stream.read(1024).decode("ascii", "replace")
    return ""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _log(database: Database, name: str, *, authenticated: bool) -> None:
    """Write the restore into the audit log of the database that was made, if it has one by now."""
    with database.write() as session:
        if inspect(session.connection()).has_table("audit"):
            details = {"name": name, "authenticated": authenticated}
            JobRepository(session).begin_stream()
            audit.record(session, clock(session), "restore_backup", details=details)
