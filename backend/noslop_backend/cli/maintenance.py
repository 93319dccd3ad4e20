# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what projects cost, remove intermediates, and finish or undo interrupted writes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import click

from noslop_backend.cli.context import Environment, ExitCode, json_option, pass_environment, size, table
from noslop_backend.maintenance import retention
from noslop_backend.repositories import JobRepository
from noslop_backend.schemas import CleanupReport
from noslop_backend.share.layout import INTERMEDIATE, FileKind

_SHOWN = 20


@click.command()
@click.argument("project_id", required=False)
@click.option("--with-disk", is_flag=True, help="Ask the share for its free space too; waits while it does not answer.")
@json_option
@pass_environment
def stats(environment: Environment, project_id: str | None, with_disk: bool) -> None:
    """Show what a project costs, or everything together."""
    with environment.storage() as storage:
        if project_id is None:
            store = storage.get_store_stats(with_disk=with_disk)
            shown = store.model_dump(exclude={"questions"}, exclude_none=True)
            text = table(("EVERYTHING", ""), [(name, _value(name, value)) for name, value in shown.items()])
            if store.questions:
                text = "\n".join([text, "", "WAITING FOR A PERSON", *store.questions])
            environment.emit({"stats": store.model_dump(mode="json")}, text)
            return
        one = storage.get_storage_stats(project_id)
    rows = [
        (name, _value(name, value)) for name, value in one.model_dump(exclude={"kinds"}).items() if value is not None
    ]
    environment.emit({"stats": one.model_dump(mode="json")}, table((project_id, ""), rows))


@click.command()
@click.argument("project_id")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(sorted(str(kind) for kind in INTERMEDIATE)),
    help="Only these. Repeatable; by default all.",
)
@click.option("--older-than-days", type=click.FloatRange(0, 36_500), help="Only what is older.")
@click.option("--keep-bytes", type=click.IntRange(0, 2**53), help="Oldest first, until no more than this remains.")
@click.option("--apply", "apply_it", is_flag=True, help="Remove them. Without this, only show what would go.")
@json_option
@pass_environment
def cleanup(
    environment: Environment,
    *,
    project_id: str,
    kinds: tuple[str, ...],
    older_than_days: float | None,
    keep_bytes: int | None,
    apply_it: bool,
) -> None:
    """Show which intermediates of a project would go; with --apply remove them. Never what something needs."""
    with environment.storage() as storage:
        report = storage.cleanup_intermediate(
            project_id,
            kinds=frozenset(FileKind(kind) for kind in kinds) or None,
            older_than=None if older_than_days is None else timedelta(days=older_than_days),
            keep_bytes=keep_bytes,
            dry_run=not apply_it,
        )
    environment.emit({"report": report.model_dump(mode="json")}, _cleaned(report))


@click.command()
@click.option("--project", "project_id", metavar="ID", help="Only in this project.")
@json_option
@pass_environment
def recover(environment: Environment, project_id: str | None) -> int:
    """Finish or undo interrupted writes, and remove old keys. Run by a timer; safe at any time."""
    with environment.storage() as storage:
        report = retention.expire_intents(storage) if project_id is None else storage.recover(project_id=project_id)
        with storage.database.read() as session:
            behind = JobRepository(session).behind()
    lines = [
        f"{len(report.finished)} finished, {len(report.released)} released, {len(report.swept)} left-over files removed"
    ]
    lines += [f"{intent}: not recovered: {why}" for intent, why in report.failed.items()]
    lines += [behind] if behind else []
    environment.emit({"report": asdict(report), "behind": behind or None}, "\n".join(lines))
    return ExitCode.FAILED if report.failed else ExitCode.OK


def _cleaned(report: CleanupReport) -> str:
    did = "would go" if report.dry_run else "are gone"
    lines = [f"{report.files_count} intermediates {did}, {size(report.freed_bytes)}."]
    lines += [f"  {file.path}  {size(file.size_bytes)}" for file in report.files[:_SHOWN]]
    if report.files_count > _SHOWN:
        lines.append(f"  and {report.files_count - _SHOWN} more (--json lists the first thousand)")
    if report.kept_referenced_count:
        lines.append(f"{report.kept_referenced_count} stay because something needs them.")
    if report.dry_run and report.files_count:
        lines.append("Nothing was removed. To remove them: --apply")
    return "\n".join(lines)


def _value(name: str, value: object) -> str:
    return size(value) if name.endswith("_bytes") and isinstance(value, int) else str(value)
