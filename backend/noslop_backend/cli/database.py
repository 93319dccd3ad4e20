# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database's schema."""

from __future__ import annotations

import click

from noslop_backend import migrations

from .environment import Environment, json_option, pass_environment


@click.command()
@json_option
@pass_environment
def migrate(environment: Environment) -> None:
    """Bring the database up to this version. Safe to run again; stop the service meanwhile."""
    with environment.database() as database:
        before = migrations.current(database)
        migrations.upgrade(database)
        after = migrations.current(database)
    text = f"The database is at revision {after}" + (
        " already." if before == after else f"; it was at {before or 'none'}."
    )
    environment.emit({"before": before, "after": after}, text)
