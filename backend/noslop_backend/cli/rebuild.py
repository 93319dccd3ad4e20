# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill a new database from the share."""

from __future__ import annotations

from dataclasses import asdict

import click

from noslop_backend.cli.context import Environment, ExitCode, json_option, pass_environment, size
from noslop_backend.maintenance import rebuild as jobs

_SHOWN = 50


@click.command()
@click.option("--verify", is_flag=True, help="Read every file through and compare it with the hash in its sidecar.")
@json_option
@pass_environment
def rebuild(environment: Environment, verify: bool) -> int:
    """Fill a new, migrated database from the share. Changes nothing there; lists what has no place."""
    with environment.storage() as storage:
        report = jobs.rebuild(storage, verify=verify)
    lines = [
        f"{report.files} files ({size(report.size_bytes)}) of {report.projects} projects, with {report.documents} "
        "workflows and prompts, are in the database again."
    ]
    lines += _some("have something wrong", report.problems, report.problems_count)
    lines += _some("have no place, and stay where they are", report.unplaced, report.unplaced_count)
    environment.emit({"report": asdict(report)}, "\n".join(lines))
    return ExitCode.FAILED if report.problems_count else ExitCode.OK


def _some(what: str, listed: dict[str, str], count: int) -> list[str]:
    if not count:
        return []
    lines = [f"{count} {what}:", *(f"  {path}: {why}" for path, why in list(listed.items())[:_SHOWN])]
    if count > _SHOWN:
        lines.append(f"  and {count - _SHOWN} more (--json lists the first thousand)")
    return lines
