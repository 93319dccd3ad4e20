# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export a project to one archive, and import one."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from noslop_backend import archive as jobs
from noslop_backend.cli.context import Environment, json_option, pass_environment, size
from noslop_backend.core.errors import NotFoundError

_STREAM = Path("-")


@click.command("export")
@click.argument("project_id")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--without-missing", is_flag=True, help="Leave out files that were taken away from the share.")
@json_option
@pass_environment
def export_project(environment: Environment, project_id: str, file: Path, without_missing: bool) -> None:
    """Write a project with everything in it to one archive with checksums; FILE - is standard output."""
    target = file if file == _STREAM else file.absolute()
    with environment.storage() as storage:
        if target == _STREAM:
            jobs.export(storage, project_id, sys.stdout.buffer, without_missing=without_missing)
            sys.stdout.buffer.flush()
            return
        report = jobs.export_to(storage, project_id, target, without_missing=without_missing)
    text = f"{target}: {report.files_count} files, {size(report.archive_bytes)}"
    if report.left_out_count:
        text += f"; {report.left_out_count} files that were taken away from the share are not in it"
    environment.emit({"report": asdict(report), "file": str(target)}, text)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@pass_environment
def import_project(environment: Environment, file: Path) -> None:
    """Make a project of an archive: all of it or nothing. FILE - is standard input."""
    # Opened before this becomes the service's account, to which root's files are closed.
    try:
        stream = sys.stdin.buffer if file == _STREAM else file.open("rb")
    except OSError as error:
        raise NotFoundError(f"{file} cannot be read: {error.strerror}. Name an archive that export wrote.") from error
    with stream, environment.storage() as storage:
        report = jobs.import_from(storage, stream)
    project = report.project
    text = f"{project.id}: {project.name!r}, {report.files_count} files, {size(report.total_bytes)}"
    if report.renamed_count:
        text += f"; {report.renamed_count} ids were taken here and are others now"
    values = asdict(report) | {"project": project.model_dump(mode="json")}
    environment.emit({"report": values}, text)
