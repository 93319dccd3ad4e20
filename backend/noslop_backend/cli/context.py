# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open settings and the service for commands, become the service's account, and print answers."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from noslop_backend import migrations
from noslop_backend.core import confinement, errors, settings
from noslop_backend.core.database import Database, protect_files
from noslop_backend.journal import audit
from noslop_backend.services import ProjectStorage

#: Deployed, the command drops to it before Python starts; this is for a program that root starts by itself.
ACCOUNT = "noslop-backend"
PROGRAM = "noslop-backend"
_F = TypeVar("_F", bound=Callable[..., Any])


class ExitCode(IntEnum):
    """How `noslop-backend` ends. The same numbers as `noslop-driver`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PREFLIGHT = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


_CODES: dict[type[Exception], ExitCode] = {
    errors.ConfigurationError: ExitCode.PREFLIGHT,
    errors.InvalidRequestError: ExitCode.USAGE,
    errors.ShareUnavailableError: ExitCode.UNREACHABLE,
    errors.DatabaseUnavailableError: ExitCode.UNREACHABLE,
    errors.ComfyUnavailableError: ExitCode.UNREACHABLE,
    errors.BackendError: ExitCode.FAILED,
}


def failure(error: Exception) -> tuple[ExitCode, str]:
    """Return the exit code and the message for an error of a command."""
    if isinstance(error, errors.BackendError):
        return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), error.message
    if isinstance(error, ValidationError):
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False)
        )
        return ExitCode.USAGE, f"That is not understood: {problems}."
    return ExitCode.FAILED, (
        f"The backend itself failed ({type(error).__name__}: {error}). This is a mistake in NoSlop: please report it."
    )


def become(name: str) -> None:
    """Become the service's account when root runs this; the service could not read files that root makes.

    Raises:
        ConfigurationError: there is no such account.
    """
    if os.geteuid() != 0:
        return
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise errors.ConfigurationError(
            f"Root runs this, and there is no account {name!r} to become. Deploy the studio, which makes it, or run "
            "this as the account that owns the projects, or name that one: --account NAME."
        ) from None
    if account.pw_uid == 0:
        return
    os.setgroups(os.getgrouplist(name, account.pw_gid))
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    # Libraries look for their files (.pgpass) there.
    os.environ.update(HOME=account.pw_dir, USER=name, LOGNAME=name)
    # The kernel made it readable again.
    confinement.protect_memory()


@dataclass
class Environment:
    """The options of one run of a command. Nothing is read or opened before a command needs it."""

    env_file: Path = field(default_factory=lambda: Path(settings.ENV_FILE))
    account: str = ACCOUNT
    json_output: bool = False

    def settings(self) -> settings.Settings:
        """Become the service's account, and read the settings.

        Raises:
            ConfigurationError: no account, or settings that are wrong or out of reach.
        """
        context = click.get_current_context(silent=True)
        audit.act_as(audit.user(context.command_path if context else PROGRAM))
        become(self.account)
        try:
            return settings.load(self.env_file)
        except OSError as error:
            raise errors.ConfigurationError(
                f"The settings {self.env_file} cannot be read: {error.strerror}. Run this as root or as the service's "
                "account, or name another file: --env-file FILE."
            ) from error

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open the database as it is, whatever its revision."""
        database = Database(self.settings().database_url)
        protect_files(database)
        try:
            yield database
            # What was made just now, too.
            protect_files(database)
        finally:
            database.close()

    @contextmanager
    def storage(self) -> Iterator[ProjectStorage]:
        """Open the service over a database that is migrated. The share is opened when something needs it.

        Raises:
            ConfigurationError: settings are wrong, or the database has to be migrated.
            DatabaseUnavailableError: it does not answer.
        """
        storage = ProjectStorage.open(self.settings())
        try:
            protect_files(storage.database)
            migrations.check(storage.database)
            yield storage
        finally:
            storage.close()

    def emit(self, data: dict[str, Any], text: str) -> None:
        """Print an answer: for programs with --json, else for people."""
        if self.json_output:
            click.echo(json.dumps({**_head(ExitCode.OK, ""), **data}, default=str, ensure_ascii=False))
        elif text:
            click.echo(text)

    def emit_error(self, code: ExitCode, message: str, error_code: str) -> None:
        """Print the JSON of a command that failed; `error_code` is that of the error, or empty."""
        click.echo(json.dumps(_head(code, message, error_code), ensure_ascii=False))


def _head(code: ExitCode, message: str, error_code: str = "") -> dict[str, Any]:
    return {
        "ok": code is ExitCode.OK,
        "exit_code": int(code),
        "error": message or None,
        "error_code": error_code or None,
    }


#: For the first parameter of a command.
pass_environment = click.make_pass_decorator(Environment)


def json_option(command: _F) -> _F:
    """Add the option `--json` to a command, which `Environment.emit` follows."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        environment = ctx.find_object(Environment)
        assert environment is not None
        environment.json_output = value

    return click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Print the answer as JSON on standard output.",
    )(command)


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as text, in columns below their heads."""
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [heads, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def size(bytes_count: int | None) -> str:
    """Return a size in bytes as people read it; a dash for none."""
    if bytes_count is None:
        return "-"
    if bytes_count < 1024:
        return f"{bytes_count} B"
    value, unit = float(bytes_count), ""
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):  # noqa: B007 - the unit that the loop ends at
        value /= 1024
        if value < 1024:
            break
    return f"{value:.1f} {unit}"
