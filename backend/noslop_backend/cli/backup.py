# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of the database, their key, and a database made of one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment, size
from noslop_backend.core.errors import ShareUnavailableError
from noslop_backend.maintenance import backup as jobs


@click.group(invoke_without_command=True)
@click.option(
    "--keep", type=click.IntRange(1, 10_000), default=jobs.KEPT, show_default=True, help="So many backups stay."
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write it to a second place too: another disk, another host. Nothing is ever removed there.",
)
@json_option
@click.pass_context
def backup(ctx: click.Context, keep: int, to: Path | None) -> None:
    """Copy the database to NOSLOP_BACKUP_DIR on this host. Run by a timer; others may write meanwhile.

    Projects are not in it: copy the share itself for those.
    """
    if ctx.invoked_subcommand is not None:
        return
    environment = ctx.find_object(Environment)
    assert environment is not None
    with environment.storage() as storage:
        report = jobs.backup(storage, keep=keep, to=to.absolute() if to else None)
    lines = [f"{report.path} ({size(report.size_bytes)}, key {report.key_id})"]
    lines += [f"{report.second} is the same"] if report.second else []
    lines += [f"removed {name}" for name in report.removed]
    environment.emit({"report": asdict(report)}, "\n".join(lines))


@backup.command("list")
@json_option
@pass_environment
def list_copies(environment: Environment) -> None:
    """List the backups on this host, the newest first, and those that versions before left on the share."""
    with environment.storage() as storage:
        there = jobs.copies(storage.settings)
        try:
            old = jobs.old_copies(storage)
        except ShareUnavailableError as error:
            old = []
            click.echo(f"Backups of the versions before are not listed: {error.message}", err=True)
    lines = [str(path) for path in there]
    lines += [f"{path} (made by a version before, not authenticated)" for path in old]
    environment.emit(
        {"copies": [str(path) for path in there], "unauthenticated": [str(path) for path in old]}, "\n".join(lines)
    )


@backup.command("key")
@click.option("--show", is_flag=True, help="Print the key itself, to be written down elsewhere. It is a secret.")
@json_option
@pass_environment
def key(environment: Environment, show: bool) -> None:
    """Show which key the backups are authenticated with, and make it when there is none.

    Without it no backup can be restored on another host, so write it down: noslop-backend backup key --show
    """
    settings = environment.settings()
    own = jobs.own_key(settings)
    where = {"id": own.id, "file": str(settings.backup_key_file)}
    if show:
        environment.emit({"key": {**where, "text": own.text}}, own.text)
    else:
        environment.emit({"key": where}, f"The key {own.id} is in {settings.backup_key_file}. To see it: --show")


@backup.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--key-file",
    type=click.File("r", encoding="ascii", errors="replace"),
    help="The key that it was made with, if that is not this host's; - is standard input.",
)
@click.option(
    "--unauthenticated",
    is_flag=True,
    help="Take a backup without a keyed checksum, as versions before made them: whoever could write it decides who may "
    "do what in this studio.",
)
@json_option
@pass_environment
def restore(environment: Environment, file: Path, key_file: TextIO | None, unauthenticated: bool) -> None:
    """Make the database of a backup. Refuses when there is one. Stop the service first."""
    if key_file is not None and unauthenticated:
        raise click.UsageError("A key proves who made a backup, and --unauthenticated asks for no proof. Name one.")
    secret = None if key_file is None else jobs.Key.parse(key_file.read(4096))
    report = jobs.restore(environment.settings(), file, secret=secret, unauthenticated=unauthenticated)
    environment.emit(
        {"report": asdict(report)},
        f"{report.database} is as it was when {file.name} was made. Now run: noslop-backend migrate, recover, and "
        "reconcile, which finds what was saved since.",
    )
