# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, list and revoke tokens of the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment, table
from noslop_backend.core.enums import TokenScope
from noslop_backend.models import TokenModel
from noslop_backend.services.tokens import Tokens


@click.group()
def token() -> None:
    """Create, list and revoke tokens of the API."""


@token.command("create")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice([str(scope) for scope in TokenScope]),
    default=str(TokenScope.READ),
    show_default=True,
    help="Each allows what the former does, and more.",
)
@click.option(
    "--days", type=click.IntRange(1, 36_500), default=365, show_default=True, help="Until it expires by itself."
)
@click.option("--never-expires", is_flag=True, help="It is worth something until it is revoked.")
@click.option(
    "--project",
    "projects",
    multiple=True,
    metavar="NAME|ID",
    help="Only for this project: no other one, and nothing that concerns the whole store. Repeatable; by default for "
    "all projects.",
)
@json_option
@pass_environment
def create(
    environment: Environment, *, name: str, scope: str, days: int, never_expires: bool, projects: tuple[str, ...]
) -> None:
    """Make a token for NAME, and print it: it is shown this once."""
    lifetime = None if never_expires else timedelta(days=days)
    with environment.storage() as storage:
        made = Tokens(storage.database).create(name, TokenScope(scope), lifetime, projects or None)
    if not environment.json_output:
        click.echo(
            f"A token of the scope {scope} for {name!r}, {_until(made.row)}, projects: {_projects(made.row)}.", err=True
        )
        click.echo("It is shown this once:", err=True)
    environment.emit({"token": {**_public(made.row), "text": made.text}}, made.text)


@token.command("list")
@json_option
@pass_environment
def list_tokens(environment: Environment) -> None:
    """List all tokens. What they read is nowhere to be seen."""
    with environment.storage() as storage:
        rows = Tokens(storage.database).all()
    lines = [
        (
            row.name,
            row.id,
            row.scope,
            _until(row),
            _projects(row),
            row.last_used_at.isoformat(" ", "minutes") if row.last_used_at else "never",
        )
        for row in rows
    ]
    environment.emit(
        {"tokens": [_public(row) for row in rows]},
        table(("NAME", "ID", "SCOPE", "VALID", "PROJECTS", "LAST USED"), lines),
    )


@token.command("revoke")
@click.argument("name")
@json_option
@pass_environment
def revoke(environment: Environment, name: str) -> None:
    """Make the token of this NAME (or id) worthless, from now on."""
    with environment.storage() as storage:
        row = Tokens(storage.database).revoke(name)
    environment.emit({"token": _public(row)}, f"The token {row.name!r} is revoked.")


def _until(row: TokenModel) -> str:
    if row.revoked_at is not None:
        return f"revoked {row.revoked_at:%Y-%m-%d}"
    return f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "for ever"


def _projects(row: TokenModel) -> str:
    return "all" if row.projects is None else ", ".join(row.projects)


def _public(row: TokenModel) -> dict[str, Any]:
    return row.model_dump(mode="json", exclude={"secret_hash"})
