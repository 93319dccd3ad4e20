# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the audit log."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment, table
from noslop_backend.models import AuditModel
from noslop_backend.repositories.audit import AuditRepository

_AGO = re.compile(r"(\d{1,5})([dh])", re.ASCII)


def _moment(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Read a point in time: ISO 8601, in UTC where it names no zone, or so many days or hours ago."""
    if value is None:
        return None
    if ago := _AGO.fullmatch(value):
        return datetime.now(UTC) - timedelta(**{"days" if ago[2] == "d" else "hours": int(ago[1])})
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is no time. Write 2026-11-28, 2026-11-28T09:30+01:00, 7d or 12h."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command("audit")
@click.option("--project", "project_id", metavar="ID", help="Only changes of this project.")
@click.option("--token", metavar="NAME|ID", help="Only what this token did.")
@click.option(
    "--since", metavar="TIME", callback=_moment, help="Only from this time on: 2026-11-28T09:30, 7d or 12h ago."
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="So many rows, the newest."
)
@json_option
@pass_environment
def audit(
    environment: Environment, *, project_id: str | None, token: str | None, since: datetime | None, limit: int
) -> None:
    """Show who changed what, when and from where, the newest last."""
    with environment.storage() as storage, storage.database.read() as session:
        rows = AuditRepository(session).latest(limit=limit, project_id=project_id, made_by=token, since=since)
        values = [row.model_dump(mode="json") for row in rows]
        lines = [_line(row) for row in rows]
    heads = ("TIME (UTC)", "WHO", "FROM", "WHAT", "PROJECT", "DETAILS")
    environment.emit({"audit": values}, table(heads, lines))


def _line(row: AuditModel) -> tuple[str, ...]:
    who = f"{row.actor_name} ({row.actor_id})" if row.actor_id else row.actor_name or row.actor_kind
    what = row.operation if row.outcome == "done" else f"{row.operation}: {row.outcome}"
    details = json.dumps(row.details, ensure_ascii=False) if row.details else ""
    return (row.at.isoformat(" ", "seconds")[:19], who, row.origin, what, row.project_id or "", details)
