# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the settings of programs that are about to be adopted: the environment of their units, and files of their users.

Owns how such settings are read, and changes nothing. What an account other than root can write is never read as root.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.adopt import replacement
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes

#: Runs a command; returns exit code, output, errors.
Command = Callable[["list[str]"], "tuple[int, str, str]"]

PROPERTIES = ("LoadState", "FragmentPath", "DropInPaths", "User", "Environment", "EnvironmentFiles")
#: More than any file of settings has.
LIMIT_BYTES = 256 * 1024
#: A user's directory may be on a share whose server is down.
TIMEOUT_S = 30.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass
class UnitSettings:
    """The environment that a unit gives its program; ``sources`` are the files that it was read from.

    ``unread`` has a sentence for each file that was not read. ``home`` is empty where the account does not exist.
    """

    name: str
    user: str = "root"
    home: str = ""
    sources: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def read_unit(run: Command, name: str) -> UnitSettings | None:
    """Return the settings of a unit as systemd applies them; ``None`` where no unit has that name."""
    code, out, __ = run(["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", name])
    properties = _parse_repeated(out)
    if code != 0 or properties.get("LoadState", ["not-found"]) == ["not-found"]:
        return None
    unit = UnitSettings(name, user="".join(properties.get("User", [])) or "root")
    unit.sources = " ".join(properties.get("FragmentPath", []) + properties.get("DropInPaths", [])).split()
    unit.environment = split_environment("\n".join(properties.get("Environment", [])))
    for line in properties.get("EnvironmentFiles", []):
        for path in sorted(glob.glob(re.sub(r" \(ignore_errors=(yes|no)\)$", "", line))):
            _read_environment_file(unit, path)
    unit.home = unit.environment.get("HOME") or _home_of(unit.user)
    return unit


def split_environment(text: str) -> dict[str, str]:
    r"""Parse ``Environment=`` of ``systemctl show``: assignments, in double quotes where a shell needs them.

    shlex leaves ``\$`` and ``\``` inside double quotes as they are; a shell removes the backslash (POSIX, 2.2.3).
    """
    try:
        words = shlex.split(text)
    except ValueError:  # a quote without its end
        words = text.split()
    return _assignments([re.sub(r"\\([$`])", r"\1", word) for word in words])


def parse_environment_file(text: str) -> dict[str, str]:
    """Parse a file of ``EnvironmentFile=`` (systemd.exec(5)): an assignment a line, ``#`` and ``;`` open comments."""
    assignments = []
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        name, __, value = stripped.partition("=")
        try:
            words = shlex.split(value)
        except ValueError:
            words = [value]
        assignments.append(f"{name.strip()}={' '.join(words)}")
    return _assignments(assignments)


def read_as_owner(path: str) -> str | None:
    """Return the text of a user's file, read as the account that owns its directory; ``None`` where there is none.

    Raises:
        OSError: it cannot be read, is no regular file, or is too large.
    """
    account = replacement.first_owner(path)
    outcome = worker_processes.run_one(lambda: _read_regular(path), account, TIMEOUT_S)
    if outcome.hung or outcome.error:
        raise OSError(0, outcome.error or f"was not read within {TIMEOUT_S:g} s", path)
    text: str | None = outcome.value
    return text


def _read_regular(path: str) -> str | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "is no regular file", path)
        data = stream.read(LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise OSError(0, f"is larger than {LIMIT_BYTES} bytes", path)
    return data.decode(errors="replace")


def _read_environment_file(unit: UnitSettings, path: str) -> None:
    if not _is_protected(path):
        unit.unread.append(f"{path}: an account other than root can change it")
        return
    try:
        text = _read_regular(path)
    except OSError as error:
        unit.unread.append(f"{path}: {error.strerror}")
        return
    unit.sources.append(path)
    unit.environment.update(parse_environment_file(text or ""))


def _is_protected(path: str) -> bool:
    """Return whether only root (or the account of this process) can change a file, or put another one in its place."""
    parts = os.path.realpath(path).split("/")
    for count in range(len(parts)):
        status = os.lstat("/".join(parts[: count + 1]) or "/")
        is_sticky = stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
        if status.st_uid not in (0, os.geteuid()) or (status.st_mode & 0o022 and not is_sticky):
            return False
    return True


def _parse_repeated(text: str) -> dict[str, list[str]]:
    """Parse ``systemctl show``, where a property may have several lines."""
    properties: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            properties.setdefault(name, []).append(value)
    return properties


def _assignments(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    return {name: value for name, equals, value in pairs if equals and _NAME.fullmatch(name)}


def _home_of(user: str) -> str:
    try:
        return pwd.getpwuid(int(user)).pw_dir if user.isdigit() else pwd.getpwnam(user).pw_dir
    except KeyError:
        return ""
