# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove files past their project's retention time."""

from __future__ import annotations

from dataclasses import asdict

import click

from noslop_backend.cli.context import Environment, ExitCode, json_option, pass_environment, size
from noslop_backend.maintenance import retention as upkeep


@click.command()
@click.option("--dry-run", is_flag=True, help="Remove nothing, show what would go.")
@click.option(
    "--confirmed",
    is_flag=True,
    help="You looked at what it asks: it believes the clock, or, when that was no question, removes much.",
)
@json_option
@pass_environment
def retention(environment: Environment, dry_run: bool, confirmed: bool) -> int:
    """Remove intermediates and trash that their projects no longer keep, and trim the media cache. Run by a timer."""
    with environment.storage() as storage:
        report = upkeep.apply_retention(storage, confirmed=confirmed, dry_run=dry_run)
    environment.emit({"report": asdict(report)}, _describe(report, dry_run=dry_run))
    # A question to a person has to appear where failed units are listed.
    return ExitCode.FAILED if report.asks or report.failed else ExitCode.OK


def _describe(report: upkeep.RetentionReport, *, dry_run: bool) -> str:
    did = "would go" if dry_run else "are gone"
    counted = (
        "" if dry_run else f" ({report.intermediates_count} intermediates, {report.purged_count} files of the trash)"
    )
    lines = [
        f"{size(report.freed_bytes)} of projects{counted} and {size(report.cache_freed_bytes)} of the cache {did}."
    ]
    lines += [f"{project}: nothing removed: {why}" for project, why in report.asks.items()]
    lines += [f"{project}: failed: {why}" for project, why in report.failed.items()]
    return "\n".join(lines)
