# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the share with the database: what came, changed or went without the backend."""

from __future__ import annotations

from dataclasses import asdict

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment
from noslop_backend.maintenance import reconcile as jobs
from noslop_backend.repositories import JobRepository

_SHOWN = 50
#: What --apply changes nothing about.
_NO_ACTION = frozenset({"left", "stranger", "renamed", "copy", "unregistered", "vanished", "adopted"})
_MEANING = {
    "taken_in": "came, and is a file of the project now",
    "left": "came, and is left where it is",
    "stranger": "has no place in the layout, and is left",
    "touched": "has another time and the same content",
    "altered": "is not what was saved",
    "restored": "is what was saved again",
    "missing": "is not there any more",
    "back": "is there again",
    "ahead": "is newer on the share than in the database",
    "caught_up": "was newer on the share, and is in the database now",
    "renamed": "is a project under another name",
    "copy": "is a copy of a project",
    "unregistered": "is a project that is not in the database",
    "vanished": "is a project without a folder",
    "adopted": "is a project of the database now",
}
#: What a first look saw.
_FIRST = {
    "came": "is there, and the database does not have it",
    "changed": "has another size or time than the database says",
    "went": "is not there",
    "back": "is there again",
}


@click.command()
@click.option("--project", "project_id", metavar="ID", help="Only this project.")
@click.option("--apply", "apply_it", is_flag=True, help="Act on what two runs have seen. Without this, only say it.")
@click.option(
    "--apart-s",
    type=click.FloatRange(0, 31_536_000),
    default=jobs.APART_S,
    show_default=True,
    envvar="NOSLOP_RECONCILE_APART_S",
    help="So many seconds have to lie between the two looks at a thing before it is believed.",
)
@click.option(
    "--adopt-projects",
    is_flag=True,
    help="Bring project folders into the database that it does not have: made since the copy that was restored.",
)
@click.option("--yes-really", is_flag=True, help="Act even when more than a fifth of a project went.")
@json_option
@pass_environment
def reconcile(
    environment: Environment,
    *,
    project_id: str | None,
    apply_it: bool,
    apart_s: float,
    adopt_projects: bool,
    yes_really: bool,
) -> None:
    """Compare the share with the database; with --apply act on what two runs have seen. Deletes no row and no file."""
    with environment.storage() as storage:
        report = jobs.reconcile(
            storage,
            apply=apply_it,
            apart_s=apart_s,
            yes_really=yes_really,
            project_id=project_id,
            adopt_projects=adopt_projects,
        )
        with storage.database.read() as session:
            behind = JobRepository(session).behind()
    environment.emit({"report": asdict(report), "behind": behind or None}, _text(report, behind))


def _text(report: jobs.ReconcileReport, behind: str) -> str:
    resumed = "Resumed a run that had stopped. " if report.resumed else ""
    lines = [behind] if behind else []
    lines.append(f"{resumed}{report.files_count} files of {report.projects_count} projects were looked at.")
    lines += [f"  {count} {outcome}: {_MEANING[outcome]}" for outcome, count in sorted(report.counts.items())]
    lines += [_line(each, _MEANING) for each in report.findings[:_SHOWN]]
    if len(report.findings) > _SHOWN:
        lines.append(f"and {sum(report.counts.values()) - _SHOWN} more (--json lists the first thousand)")
    if report.waiting_count:
        lines.append(f"Seen for the first time: {report.waiting_count}. A later run with --apply acts on them:")
        lines += [f"  {_line(each, _FIRST)}" for each in report.waiting[:_SHOWN]]
        if report.waiting_count > _SHOWN:
            lines.append(f"  and {report.waiting_count - _SHOWN} more (--json lists the first thousand)")
    if report.would_ask:
        lines.append(f"So much went from {', '.join(report.would_ask)} that --apply will ask for --yes-really.")
    if not report.apply and set(report.counts) - _NO_ACTION:
        lines.append("Nothing was changed. To act on it: --apply")
    return "\n".join(lines)


def _line(finding: jobs.Finding, meaning: dict[str, str]) -> str:
    path = f"{finding.project_id}/{finding.path}" if finding.project_id else finding.path
    why = f" ({finding.note})" if finding.note else ""
    return f"{path}: {meaning[finding.outcome]}{why}"
