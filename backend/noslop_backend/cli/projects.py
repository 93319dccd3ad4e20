# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects, from the command line."""

from __future__ import annotations

import sys

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment, size, table
from noslop_backend.core.enums import ProjectState
from noslop_backend.schemas import ProjectCreate, ProjectPublic

_PAGE = 500


@click.group()
def project() -> None:
    """Projects: listed, made, put away, brought back, removed."""


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
    found: list[ProjectPublic] = []
    with environment.storage() as storage:
        cursor = None
        while True:
            page = storage.list_projects(state=ProjectState(state), cursor=cursor, limit=_PAGE)
            found += page.items
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
        for one in found
    ]
    environment.emit(
        {"projects": [one.model_dump(mode="json") for one in found]},
        table(("ID", "NAME", "STATUS", "WORKFLOWS", "MEDIA", "USED", "QUOTA"), rows),
    )


@project.command("show")
@click.argument("project_id")
@json_option
@pass_environment
def show(environment: Environment, project_id: str) -> None:
    """Show one project."""
    with environment.storage() as storage:
        _told(environment, storage.get_project(project_id))


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
        _told(environment, storage.create_project_structure(asked))


@project.command("trash")
@click.argument("project_id")
@json_option
@pass_environment
def trash(environment: Environment, project_id: str) -> None:
    """Put a project away. Its files stay, and it can be restored."""
    with environment.storage() as storage:
        _told(environment, storage.trash_project(project_id))


@project.command("restore")
@click.argument("project_id")
@json_option
@pass_environment
def restore(environment: Environment, project_id: str) -> None:
    """Bring a project back from the trash."""
    with environment.storage() as storage:
        _told(environment, storage.restore_project(project_id))


@project.command("purge")
@click.argument("project_id")
@click.option("--yes-really", is_flag=True, help="Ask nothing.")
@json_option
@pass_environment
def purge(environment: Environment, project_id: str, yes_really: bool) -> None:
    """Remove a project that is in the trash for good, with all its files."""
    with environment.storage() as storage:
        found = storage.get_project(project_id)
        if not yes_really:
            _ask(found)
        report = storage.purge_project(project_id)
    environment.emit(
        {"project_id": project_id, "files_count": report.files_count, "freed_bytes": report.freed_bytes},
        f"{project_id} is gone: {report.files_count} files, {size(report.freed_bytes)} are free again.",
    )


def _ask(found: ProjectPublic) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is here to be asked. If it really is to be removed for good, add --yes-really.")
    typed = click.prompt(
        f"{found.name!r} ({size(found.used_bytes)}) will be removed for good. Type its id to do it", err=True
    )
    if typed != found.id:
        raise click.UsageError("That is not its id. Nothing was removed.")


def _told(environment: Environment, found: ProjectPublic) -> None:
    lines = {
        "id": found.id,
        "name": found.name,
        "status": f"{found.status}, {found.state}",
        "directory": found.folder_path,
        "workflows": str(found.workflows_count),
        "media": str(found.media_count),
        "used": f"{size(found.used_bytes)} of {size(found.quota_bytes)}"
        if found.quota_bytes is not None
        else size(found.used_bytes),
        "created": found.created_at.isoformat(" ", "seconds"),
        "revision": str(found.revision),
    }
    environment.emit(
        {"project": found.model_dump(mode="json")}, "\n".join(f"{name:<10} {value}" for name, value in lines.items())
    )
