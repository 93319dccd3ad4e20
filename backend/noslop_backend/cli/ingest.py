# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File what ComfyUI made of a prompt under a project."""

from __future__ import annotations

import click

from noslop_backend.cli.context import Environment, ExitCode, json_option, pass_environment, size
from noslop_backend.comfyui import ingest
from noslop_backend.core.enums import FileState
from noslop_backend.schemas import FilePublic, IngestReport


@click.command("ingest")
@click.argument("project_id")
@click.argument("host")
@click.argument("prompt_id")
@json_option
@pass_environment
def ingest_prompt(environment: Environment, project_id: str, host: str, prompt_id: str) -> int:
    """File what ComfyUI on HOST made of a prompt: outputs, workflow, prompt, parameters. Twice doubles nothing.

    HOST is a host of the studio, by its name. Ends with 1 when a file could not be had that another attempt may get.
    """
    with environment.storage() as storage:
        report = ingest(storage, project_id, host, prompt_id)
    environment.emit({"report": report.model_dump(mode="json")}, _describe(report))
    return ExitCode.FAILED if any(one.again for one in report.left_out) else ExitCode.OK


def _describe(report: IngestReport) -> str:
    ended = f"{report.status} ({report.problem})" if report.problem else report.status
    lines = [f"The prompt {report.prompt_id} on {report.host} ended with {ended}. Filed in {report.project_id}:"]
    documents = [file for file in (report.workflow, report.prompt) if file is not None]
    lines += [_line(file) for file in documents + report.files]
    lines += [
        f"left out: {'/'.join(filter(None, (one.subfolder, one.filename)))} of node {one.node}: {one.why}"
        + (" (ask again)" if one.again else "")
        for one in report.left_out
    ]
    return "\n".join(lines)


def _line(file: FilePublic) -> str:
    line = f"  {file.id}  {file.kind:<8}  {file.path}  {size(file.size_bytes)}"
    if file.state is not FileState.PRESENT:
        line += f"  ({file.state})"
    problem = (file.parameters.get("media") or {}).get("problem")
    return f"{line}  {problem}" if problem else line
