# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the database on the share, and a database made of one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from noslop_backend import backup as jobs
from noslop_backend.files import beside

from .environment import Environment, json_option, pass_environment, size


@click.group(invoke_without_command=True)
@click.option(
    "--keep", type=click.IntRange(1, 10_000), default=jobs.KEPT, show_default=True, help="So many copies stay."
)
@json_option
@click.pass_context
def backup(ctx: click.Context, keep: int) -> None:
    """Copy the database to the share, in .backups beside the projects. Run by a timer; others may write meanwhile."""
    if ctx.invoked_subcommand is not None:
        return
    environment = ctx.find_object(Environment)
    assert environment is not None
    with environment.storage() as storage:
        report = jobs.backup(storage, keep=keep)
    lines = [f"{report.path} ({size(report.size_bytes)}, BLAKE3 {report.blake3})"]
    lines += [f"removed {name}" for name in report.removed]
    environment.emit({"report": asdict(report)}, "\n".join(lines))


@backup.command("list")
@json_option
@pass_environment
def list_copies(environment: Environment) -> None:
    """List the copies on the share, the newest first."""
    with environment.storage() as storage:
        names = jobs.copies(storage)
        place = storage.settings.project_storage_dir / beside.BACKUPS
    environment.emit({"copies": [str(place / name) for name in names]}, "\n".join(str(place / name) for name in names))


@backup.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--unchecked", is_flag=True, help="Go on without the checksum that lies beside a copy.")
@json_option
@pass_environment
def restore(environment: Environment, file: Path, unchecked: bool) -> None:
    """Make the database of a copy. Refuses when there is one. Stop the service first."""
    report = jobs.restore(environment.settings(), file, unchecked=unchecked)
    environment.emit(
        {"report": asdict(report)},
        f"{report.database} is as it was when {file.name} was made. Now run: noslop-backend migrate, recover, and "
        "reconcile, which finds what was saved since.",
    )
