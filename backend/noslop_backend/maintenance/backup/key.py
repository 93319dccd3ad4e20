# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read or make the key that tells the studio's own backups from those of any other account.

Owns: the key's file, and the keyed checksum beside a backup. A backup is not encrypted by it.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from noslop_backend.core.errors import ConfigurationError, InvalidRequestError

KEY_BYTES = 32
_TEXT = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LINE = re.compile(r"(?P<mac>[0-9a-f]{64})  (?P<name>[^ \n]{1,255})  (?P<key_id>[0-9a-f]{16})\n?", re.ASCII)
#: https://github.com/BLAKE3-team/BLAKE3-specs, "key derivation": the contexts are constants and differ by purpose.
_ID_CONTEXT = "noslop.studio 2026-11-28 backup key id"
_MAC_CONTEXT = "noslop.studio 2026-11-28 backup authentication"


@dataclass(frozen=True)
class Mac:
    """A keyed checksum as it lies beside a backup: over its name and its content."""

    value: str
    name: str
    key_id: str

    @classmethod
    def parse(cls, text: str) -> Mac | None:
        """Read the line of a checksum file; None when it is none."""
        match = _LINE.fullmatch(text)
        return None if match is None else cls(match["mac"], match["name"], match["key_id"])

    def line(self) -> str:
        """Return the line of the checksum file."""
        return f"{self.value}  {self.name}  {self.key_id}\n"


@dataclass(frozen=True)
class Key:
    """A secret of 32 bytes."""

    secret: bytes

    def __repr__(self) -> str:
        """Show the id only: a traceback is no place for a secret."""
        return f"Key({self.id})"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read a key as `noslop-backend backup key --show` writes it.

        Raises:
            InvalidRequestError: it is none.
        """
        if not _TEXT.fullmatch(text.strip()):
            raise InvalidRequestError(
                "That is no backup key. One has 64 digits of 0-9 and a-f: 'noslop-backend backup key --show' prints it."
            )
        return cls(bytes.fromhex(text.strip()))

    @property
    def text(self) -> str:
        """Return the key itself, in 64 hexadecimal digits. It is a secret."""
        return self.secret.hex()

    @property
    def id(self) -> str:
        """Return which key it is: 16 digits that reveal nothing of the secret."""
        return blake3(self.secret, derive_key_context=_ID_CONTEXT).hexdigest()[:16]

    def hasher(self, name: str) -> blake3:
        """Return the hasher of a keyed checksum. The name is in it: an old backup passes for no newer one."""
        made = blake3(key=blake3(self.secret, derive_key_context=_MAC_CONTEXT).digest())
        made.update(f"{name}\0".encode())
        return made


def load(path: Path) -> Key | None:
    """Read this studio's key; None when there is none yet.

    Raises:
        ConfigurationError: it is no file of this account, others can read it, or it holds something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"The key of the backups {path} cannot be read: {error.strerror}. Run this as root or as the service's "
            "account."
        ) from error
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {os.geteuid(), 0}:
            raise ConfigurationError(
                f"The key of the backups {path} is no file of the service's account. Look who put it there and move it "
                "away."
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigurationError(
                f"The key of the backups {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}), so "
                f"they could have made backups. If that did not happen: chmod 600 {path}. Else move it away, and the "
                "next backup makes another key."
            )
        try:
            return Key.parse(stream.read(4096).decode("ascii", "replace"))
        except InvalidRequestError as error:
            raise ConfigurationError(f"{path}: {error.message}") from error


def load_or_make(path: Path) -> Key:
    """Read this studio's key, or make one; of two that make it at once the first one wins."""
    if (there := load(path)) is not None:
        return there
    made = Key(secrets.token_bytes(KEY_BYTES))
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{made.text}\n".encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(part, path)
        except FileExistsError:
            there = load(path)
            assert there is not None
            return there
        finally:
            os.unlink(part)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigurationError(
            f"The key of the backups {path} cannot be made: {error.strerror}. Make its directory, for the service's "
            "account alone, or name another place (NOSLOP_BACKUP_KEY_FILE)."
        ) from error
    return made
