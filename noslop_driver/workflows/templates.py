# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the official templates, which ComfyUI publishes as a Python package of their own."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from noslop_driver.errors import UsageError
from noslop_driver.workflows.formats import ModelLink, Workflow, parse_workflow

PACKAGE = "comfyui_workflow_templates_json"
INSTALL = "pip install 'noslop[templates]'"


@dataclass(frozen=True)
class Template:
    """An official template. `min_version` is the oldest ComfyUI that it runs on; empty where it does not say."""

    name: str
    title: str
    min_version: str


def list_templates() -> list[Template]:
    """Return the official templates in the order of their index; none where their package is not installed.

    Raises:
        UsageError: the package has another layout.
    """
    directory = _find_directory()
    if directory is None:
        return []
    try:
        index = json.loads(directory.joinpath("index.json").read_text(encoding="utf-8"))
        return [
            Template(
                str(entry["name"]), str(entry.get("title") or entry["name"]), str(entry.get("minComfyUIVersion") or "")
            )
            for group in index
            for entry in group["templates"]
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"The installed package of templates, {PACKAGE}, cannot be read: {error!r}. Install the version that this "
            f"release of NoSlop is made for: {INSTALL}"
        ) from error


def find_template(name: str) -> Template:
    """Return the template with this name or title.

    Raises:
        UsageError: there is none, or the templates are not installed.
    """
    templates = list_templates()
    if not templates:
        raise UsageError(
            f"{name!r} is no file, and the official templates are not installed. To have them: {INSTALL}. For a "
            "workflow of yours, pass the path of its JSON file."
        )
    for template in templates:
        if name.lower() in (template.name.lower(), template.title.lower()):
            return template
    close = difflib.get_close_matches(name, [template.name for template in templates], n=3)
    advice = f"Did you mean {' or '.join(close)}?" if close else "'noslop-driver models search' finds templates too."
    raise UsageError(f"{name!r} is no file, and none of the {len(templates)} official templates. {advice}")


def read_template(template: Template) -> Workflow:
    """Return the workflow of a template.

    Raises:
        UsageError: it is not in the package, or is no workflow.
    """
    directory = _find_directory()
    try:
        content = directory.joinpath(f"{template.name}.json").read_bytes() if directory else b""
    except OSError as error:
        raise UsageError(
            f"The template {template.name} cannot be read: {error}. Install it again: {INSTALL}"
        ) from error
    return parse_workflow(content, f"The template {template.name}")


def list_links() -> Iterator[tuple[Template, ModelLink]]:
    """Yield each model that an official template names, with the template, each pair once."""
    for template in list_templates():
        workflow = read_template(template)
        for link in dict.fromkeys(link for node in workflow.nodes for link in node.links):
            yield template, link


def _find_directory() -> Traversable | None:
    try:
        return resources.files(PACKAGE).joinpath("templates")
    except ModuleNotFoundError:
        return None
