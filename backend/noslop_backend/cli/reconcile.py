# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came, changed or went on the share without the backend."""

from __future__ import annotations

from dataclasses import asdict

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment
from noslop_backend.maintenance import reconcile as jobs

_SHOWN = 50
_SAID = {
    "taken_in": "came, and is a file of the project now",
    "left": "came, and is left where it is",
    "stranger": "has no place in the layout, and is left",
    "touched": "has another time and the same content",
    "altered": "is not what was saved",
    "restored": "is what was saved again",
    "missing": "is not there any more",
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
@click.option("--yes-really", is_flag=True, help="Act even when more than a fifth of a project went.")
@json_option
@pass_environment
def reconcile(
    environment: Environment, *, project_id: str | None, apply_it: bool, apart_s: float, yes_really: bool
) -> None:
    """Compare the share with the database; with --apply act on what two runs have seen. Deletes no row and no file."""
    with environment.storage() as storage:
        report = jobs.reconcile(storage, apply=apply_it, apart_s=apart_s, yes_really=yes_really, project_id=project_id)
    environment.emit({"report": asdict(report)}, _told(report))


def _told(report: jobs.ReconcileReport) -> str:
    began = "Went on with a run that had stopped. " if report.resumed else ""
    lines = [f"{began}{report.files_count} files of {report.projects_count} projects were looked at."]
    lines += [f"  {count} {outcome}: {_SAID[outcome]}" for outcome, count in sorted(report.counts.items())]
    for found in report.findings[:_SHOWN]:
        why = f" ({found.note})" if found.note else ""
        lines.append(f"{found.project_id}/{found.path}: {_SAID[found.outcome]}{why}")
    if len(report.findings) > _SHOWN:
        lines.append(f"and {sum(report.counts.values()) - _SHOWN} more (--json lists the first thousand)")
    if report.waiting_count:
        lines.append(f"{report.waiting_count} things were seen for the first time: a later run will believe them.")
    if report.would_ask:
        lines.append(f"So much went from {', '.join(report.would_ask)} that --apply will ask for --yes-really.")
    if not report.apply and set(report.counts) - {"left", "stranger"}:
        lines.append("Nothing was changed. To act on it: --apply")
    return "\n".join(lines)
