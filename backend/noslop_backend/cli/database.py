# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrate the database."""

from __future__ import annotations

import click

from noslop_backend import migrations
from noslop_backend.cli.context import Environment, json_option, pass_environment


@click.command()
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be done, and fail where that cannot be.")
@json_option
@pass_environment
def migrate(environment: Environment, dry_run: bool) -> None:
    """Bring the database up to this version. Safe to run again; stop the service meanwhile."""
    with environment.database() as database:
        if dry_run:
            before, wanted = migrations.pending(database)
            text = f"The database is at revision {before or 'none'}; it would be at {wanted}. Nothing was changed."
            environment.emit({"before": before, "after": wanted}, text)
            return
        before = migrations.current(database)
        migrations.upgrade(database)
        after = migrations.current(database)
    text = f"The database is at revision {after}" + (
        " already." if before == after else f"; it was at {before or 'none'}."
    )
    environment.emit({"before": before, "after": after}, text)
