# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect files again."""

from __future__ import annotations

from dataclasses import asdict

import click

from noslop_backend.cli.context import Environment, ExitCode, json_option, pass_environment
from noslop_backend.maintenance.inspection import inspect_files

_SHOWN = 20


@click.command()
@click.argument("project_id", required=False)
@json_option
@pass_environment
def inspect(environment: Environment, project_id: str | None) -> int:
    """Read what files say of themselves (size, prompt, models) that were saved by a version before, or unread.

    They are found by it then, and what they name is kept. The service may go on meanwhile.
    """
    with environment.storage() as storage:
        report = inspect_files(storage, project_id)
    lines = [f"{report.inspected_count} files were inspected, and of {report.recorded_count} something was recorded."]
    lines += [f"{path}: {why}" for path, why in list(report.failed.items())[:_SHOWN]]
    if report.failed_count > _SHOWN:
        lines.append(f"and {report.failed_count - _SHOWN} more: --json lists a thousand of them")
    environment.emit({"report": asdict(report)}, "\n".join(lines))
    return ExitCode.FAILED if report.failed else ExitCode.OK
