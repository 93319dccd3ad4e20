# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List, create, trash, restore and purge projects."""

from __future__ import annotations

import sys

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment, size, table
from noslop_backend.core.enums import ProjectState
from noslop_backend.schemas import ProjectCreate, ProjectPublic

_PAGE = 500


@click.group()
def project() -> None:
    """List, create, trash, restore and purge projects."""


@project.command("list")
@click.option(
    "--state",
    type=click.Choice([str(state) for state in ProjectState]),
    default=str(ProjectState.PRESENT),
    show_default=True,
    help="Which ones.",
)
@json_option
@pass_environment
def list_projects(environment: Environment, state: str) -> None:
    """List projects, oldest first."""
    projects: list[ProjectPublic] = []
    with environment.storage() as storage:
        cursor = None
        while True:
            page = storage.list_projects(state=ProjectState(state), cursor=cursor, limit=_PAGE)
            projects += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    rows = [
        (
            one.id,
            one.name,
            one.status,
            str(one.workflows_count),
            str(one.media_count),
            size(one.used_bytes),
            size(one.quota_bytes),
        )
        for one in projects
    ]
    environment.emit(
        {"projects": [one.model_dump(mode="json") for one in projects]},
        table(("ID", "NAME", "STATUS", "WORKFLOWS", "MEDIA", "USED", "QUOTA"), rows),
    )


@project.command("show")
@click.argument("project_id")
@json_option
@pass_environment
def show(environment: Environment, project_id: str) -> None:
    """Show one project."""
    with environment.storage() as storage:
        _show(environment, storage.get_project(project_id))


@project.command("create")
@click.argument("name")
@click.option("--description", default="", help="What it is about.")
@click.option(
    "--quota-bytes", type=click.IntRange(0, 2**53), help="What it may cost; by default what the settings say."
)
@json_option
@pass_environment
def create(environment: Environment, name: str, description: str, quota_bytes: int | None) -> None:
    """Make a project called NAME."""
    given = {"name": name, "description": description}
    asked = ProjectCreate.model_validate(given if quota_bytes is None else {**given, "quota_bytes": quota_bytes})
    with environment.storage() as storage:
        _show(environment, storage.create_project_structure(asked))


@project.command("trash")
@click.argument("project_id")
@json_option
@pass_environment
def trash(environment: Environment, project_id: str) -> None:
    """Put a project away. Its files stay, and it can be restored."""
    with environment.storage() as storage:
        _show(environment, storage.trash_project(project_id))


@project.command("restore")
@click.argument("project_id")
@json_option
@pass_environment
def restore(environment: Environment, project_id: str) -> None:
    """Bring a project back from the trash."""
    with environment.storage() as storage:
        _show(environment, storage.restore_project(project_id))


@project.command("purge")
@click.argument("project_id")
@click.option("--yes-really", is_flag=True, help="Ask nothing.")
@json_option
@pass_environment
def purge(environment: Environment, project_id: str, yes_really: bool) -> None:
    """Remove a project that is in the trash for good, with all its files."""
    with environment.storage() as storage:
        if not yes_really:
            _ask(storage.get_project(project_id))
        report = storage.purge_project(project_id)
    environment.emit(
        {"project_id": project_id, "files_count": report.files_count, "freed_bytes": report.freed_bytes},
        f"{project_id} is gone: {report.files_count} files, {size(report.freed_bytes)} are free again.",
    )


def _ask(project: ProjectPublic) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(
            "Standard input is no terminal, so nothing can be asked. To remove the project for good, add --yes-really."
        )
    typed = click.prompt(
        f"{project.name!r} ({size(project.used_bytes)}) will be removed for good. Type its id to do it", err=True
    )
    if typed != project.id:
        raise click.UsageError("That is not its id. Nothing was removed.")


def _show(environment: Environment, project: ProjectPublic) -> None:
    lines = {
        "id": project.id,
        "name": project.name,
        "status": f"{project.status}, {project.state}",
        "directory": project.folder_path,
        "workflows": str(project.workflows_count),
        "media": str(project.media_count),
        "used": f"{size(project.used_bytes)} of {size(project.quota_bytes)}"
        if project.quota_bytes is not None
        else size(project.used_bytes),
        "created": project.created_at.isoformat(" ", "seconds"),
        "revision": str(project.revision),
    }
    environment.emit(
        {"project": project.model_dump(mode="json")}, "\n".join(f"{name:<10} {value}" for name, value in lines.items())
    )
