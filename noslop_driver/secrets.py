# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read passwords, and keep them out of everything that is written.

A password is asked for on the terminal or read from a file that the user names. Ansible reads it from a pipe
(noslop_driver.ansible.watchdog). It is never in a file of the driver, a command line, the environment, an event or a
record.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import re
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import yaml

from noslop_driver.errors import UsageError

SCRUBBED = "(removed: secret)"
# Up to the last @: a password that was not percent-encoded may have / and @ in it.
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s\"'<>]*@", re.IGNORECASE)
_READ_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH
_MAPPING_TODO = "Write a line for each host of the inventory: NAME: 'PASSWORD'"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Secrets:
    """The passwords of one run. They appear neither in `repr` nor in a traceback."""

    ssh_password: str | None = field(default=None, repr=False)
    become_password: str | None = field(default=None, repr=False)
    """The password to become root, on hosts without one of their own."""
    become_passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The passwords of hosts where another one is right, by the host's name in the inventory."""
    more: tuple[str, ...] = field(default=(), repr=False)
    """Further secrets that no output may have, such as those of files that the inventory names."""

    def values(self) -> list[str]:
        """Return every password, also as JSON, YAML and shells write it, the longest first: one may contain another."""
        forms: set[str] = set()
        passwords = (self.ssh_password, self.become_password, *self.become_passwords.values(), *self.more)
        for value in filter(None, passwords):
            forms |= {value, shlex.quote(value), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
        return sorted(forms, key=len, reverse=True)

    def scrub(self, value: _T) -> _T:
        """Return the same data with every password in it replaced, and accounts and passwords in URLs, at any depth."""
        return _scrub(value, self.values())


def _scrub(value: _T, passwords: list[str]) -> _T:
    result: object = value
    if isinstance(value, str):
        text: str = value
        for password in passwords:
            text = text.replace(password, SCRUBBED)
        result = _URL_PASSWORD.sub(rf"\1{SCRUBBED}@", text)
    elif isinstance(value, dict):
        result = {_scrub(key, passwords): _scrub(item, passwords) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        result = [_scrub(item, passwords) for item in value]
    return result  # type: ignore[return-value]  # the shape is kept, which the checker cannot follow


def read_password_file(path: Path, flag: str) -> tuple[str, str]:
    """Read a password from the first line of a file.

    Returns:
        The password, and a warning (or an empty string) if other accounts may read the file.

    Raises:
        UsageError: the file cannot be read, or is empty.
    """
    text, mode = _read_file(path, flag)
    password = text.partition("\n")[0].removesuffix("\r")
    if not password:
        raise UsageError(f"{flag} {path}: its first line is empty. Put the password there.")
    warning = f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}" if mode & _READ_BY_OTHERS else ""
    return password, warning


def is_password_mapping(path: Path) -> bool:
    """Return whether a file of passwords has one for each host: it is YAML by its name, or begins with `---`."""
    if path.suffix in (".yml", ".yaml"):
        return True
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip() == "---"
    except (OSError, UnicodeDecodeError):
        return False


def read_password_mapping(path: Path, flag: str) -> dict[str, str]:
    """Read a YAML file with a password for each host, by its name in the inventory. No error shows a password.

    Raises:
        UsageError: the file cannot be read, other accounts may read it, or it has something else.
    """
    text, mode = _read_file(path, flag)
    if mode & _READ_BY_OTHERS:
        raise UsageError(f"{flag} {path}: can be read by others (mode {mode:04o}): chmod 600 {path}")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise UsageError(f"{flag} {path}: is not valid YAML{where}. {_MAPPING_TODO}") from None
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{flag} {path}: has no hosts. {_MAPPING_TODO}")
    for host, password in content.items():
        if not isinstance(password, str) or not password or "\n" in password:
            raise UsageError(f"{flag} {path}: the password of {host} is no text of one line. {_MAPPING_TODO}")
    return {str(host): str(password) for host, password in content.items()}


def _read_file(path: Path, flag: str) -> tuple[str, int]:
    """Return the text and the mode of a file with passwords."""
    try:
        return path.read_text(encoding="utf-8"), stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{flag} {path}: cannot be read ({error}). Name a text file with the password in it."
        ) from error


def ask_password(prompt: str, flag: str, file_flag: str, *, interactive: bool) -> str:
    """Ask for a password on the terminal, without echo.

    Raises:
        UsageError: there is no terminal to ask on, or the answer was empty.
    """
    if not interactive:
        raise UsageError(
            f"{flag} needs a terminal to ask on. Without one, pass {file_flag} FILE with the password in a file."
        )
    password = getpass.getpass(prompt)
    if not password:
        raise UsageError(f"{flag}: no password was given. Type one, or leave {flag} out.")
    return password


@contextlib.contextmanager
def private_directory(prefix: str) -> Iterator[Path]:
    """Make a directory that only this account can enter, in memory if possible, and remove it at the end."""
    parents = [os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"]  # noqa: S108 - 0700, made by mkdtemp
    parent = Path(
        next((path for path in parents if path and os.access(path, os.W_OK | os.X_OK)), tempfile.gettempdir())
    )
    _remove_abandoned(parent, prefix)
    name = f"{prefix}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=name, dir=parent, ignore_cleanup_errors=True) as path:
        yield Path(path)


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the directories of killed runs: those of this account whose process has ended.

    The watchdog of a killed run locks its directory as long as it uses it.
    """
    for path in parent.glob(f"{prefix}*-*"):
        pid = path.name.removeprefix(prefix).partition("-")[0]
        with contextlib.suppress(OSError):  # another run removes it at the same time, or it belongs to another account
            if pid.isdecimal() and path.lstat().st_uid == os.getuid() and not Path("/proc", pid).exists():
                with open_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(path)


@contextlib.contextmanager
def open_locked(directory: Path, operation: int) -> Iterator[None]:
    """Lock a directory with flock(2) for as long as the context is open.

    Raises:
        BlockingIOError: the directory is locked already, and `operation` has LOCK_NB.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def open_private(path: str, flags: int) -> int:
    """Open a file; a new one can be read by this account only. An `opener` for `open`."""
    return os.open(path, flags, 0o600)


def write_private(path: Path, text: str) -> Path:
    """Write a new file that only this account can read, and return its path."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path
