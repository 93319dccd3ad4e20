# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what names a model."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from noslop_backend.cli.context import Environment, json_option, pass_environment, table
from noslop_backend.maintenance.model_uses import find_model_uses


@click.command("model-uses")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--names-on-stdin", is_flag=True, help="Read further names from standard input, one in a line.")
@json_option
@pass_environment
def model_uses(environment: Environment, names: tuple[str, ...], names_on_stdin: bool) -> None:
    """Show the workflows, prompts and media that name a model.

    NAME is its path below ComfyUI's models, such as loras/style.safetensors, or its name in Ollama.
    """
    asked = [*names, *filter(None, sys.stdin.read().splitlines() if names_on_stdin else ())]
    if not asked and not names_on_stdin:
        raise click.UsageError("Name a model, such as loras/style.safetensors.")
    with environment.storage() as storage:
        uses = find_model_uses(storage, list(dict.fromkeys(asked)))
    rows = [
        (one.name, document.project, document.kind, document.name, ", ".join(map(str, document.versions)))
        for one in uses
        for document in one.documents
    ]
    lines = [table(("MODEL", "PROJECT", "KIND", "NAME", "VERSIONS"), rows)] if rows else []
    lines += [
        f"{one.media_count} files were made with {one.name}, in {', '.join(one.media_projects)}"
        for one in uses
        if one.media_count
    ]
    environment.emit({"models": [asdict(one) for one in uses]}, "\n".join(lines) or "Nothing names it.")
