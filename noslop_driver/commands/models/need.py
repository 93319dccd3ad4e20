# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show which models and node classes a workflow needs and which host lacks them, and fetch the models."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress

from noslop_driver.commands.models import need_view
from noslop_driver.commands.models.catalogue import read_catalogue, read_hubs
from noslop_driver.commands.models.edit import add_entries
from noslop_driver.commands.models.need_sources import Source, find_sources
from noslop_driver.commands.models.result import ModelResultData, NeededModelData, NeedsData
from noslop_driver.commands.models.state import read_results
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.studio import lock_studio, read_members
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts.login import Login
from noslop_driver.hosts.offers_run import ask_hosts
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.workflows import templates
from noslop_driver.workflows.formats import Workflow, parse_workflow
from noslop_driver.workflows.requirements import NeededModel, find_requirements, list_class_names, list_file_names

WORKFLOW_MAX_BYTES = 64 * 1024 * 1024

Pull = Callable[[Sequence[str]], CommandResult]
"""Fetches the models of the catalogue with these names."""


@dataclass(frozen=True)
class NamedWorkflow:
    """A workflow, the name that the user gave for it, and the oldest ComfyUI that it runs on if that is clear."""

    name: str
    workflow: Workflow
    min_version: str = ""


@dataclass(frozen=True)
class Findings:
    """The needs that the hosts do not meet, and the sources of the models that the catalogue does not have."""

    data: NeedsData
    sources: Mapping[NeededModel, Source]
    unreachable: bool


def show_needs(
    studio: StudioDirectory, login: Login, options: Options, terminal: Terminal, pull: Pull
) -> CommandResult:
    """Print what a workflow needs and each host lacks; with `--pull`, fetch the models and look again."""
    workflow = read_workflow(str(options.workflow))
    members = read_members(studio.path, login.user)
    if not any("comfyui" in member.groups for member in members):
        raise UsageError(f"{studio.path} has no host in the group comfyui, and a workflow needs one.")
    findings = _look(studio, members, login, workflow, terminal)
    need_view.print_needs(findings.data, terminal)
    rows = [row for row in findings.data["models"] if need_view.can_be_fetched(row)]
    if not rows or not options.pull:
        return _make_result(findings, fetchable=len(rows))
    entries = [source.entry for source in findings.sources.values() if source.entry is not None]
    _confirm(rows, terminal)
    if entries:
        with lock_studio(studio, terminal):
            add_entries(studio, members, entries, terminal)
        members = read_members(studio.path, login.user)
    done = pull(_list_entries(rows, members))
    if done.code is ExitCode.INTERRUPTED:
        return CommandResult(done.code, cast("Mapping[str, object]", findings.data), done.message)
    fetched = cast("list[ModelResultData]", done.data.get("models") or [])
    expected = [row["path"] for row in fetched if row["state"] != "failed"]
    findings = _look(studio, members, login, workflow, terminal, expected=expected)
    findings.data["fetched"] = fetched
    need_view.print_needs(findings.data, terminal)
    result = _make_result(findings, fetchable=0)
    if done.code is ExitCode.OK:
        return result
    return CommandResult(done.code, result.data, " ".join(text for text in (done.message, result.message) if text))


def read_workflow(name: str) -> NamedWorkflow:
    """Return the workflow in a file, or the official template with this name.

    Raises:
        UsageError: it is neither, it cannot be read, or it is no workflow.
    """
    path = Path(name)
    if "\0" not in name and path.is_file():
        try:
            with path.open("rb") as stream:
                content = stream.read(WORKFLOW_MAX_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{name} cannot be read: {error.strerror}.") from error
        if len(content) > WORKFLOW_MAX_BYTES:
            size = model_progress.format_bytes(WORKFLOW_MAX_BYTES)
            raise UsageError(f"{name} is larger than {size}, which no workflow is.")
        return NamedWorkflow(name, parse_workflow(content, name))
    if "/" in name or name.endswith(".json"):
        raise UsageError(f"There is no file {name}. Pass the path of a workflow, or the name of an official template.")
    template = templates.find_template(name)
    return NamedWorkflow(name, templates.read_template(template), template.min_version)


def _look(
    studio: StudioDirectory,
    members: Sequence[Member],
    login: Login,
    workflow: NamedWorkflow,
    terminal: Terminal,
    *,
    expected: Sequence[str] = (),
) -> Findings:
    """Ask the hosts what they have, and the hubs about the models that are missing.

    Args:
        studio: the directory of the studio.
        members: the hosts of the inventory.
        login: the password for SSH, if there is one.
        workflow: what is to run on the hosts.
        terminal: the terminal for progress.
        expected: paths of models that were just fetched, which hosts list after some seconds.
    """
    classes, files = list_class_names(workflow.workflow), list_file_names(workflow.workflow)
    offers = ask_hosts(studio.path, terminal, login.secrets, classes=classes, files=files, expected=expected)
    for host, notes in offers.notes.items():
        for note in notes:
            terminal.warn(f"{host} could not list a folder of models: {note}")
    requirements = find_requirements(workflow.workflow, list(offers.offers.values()))
    lacking = need_view.compare_hosts(requirements, offers)
    state = need_view.CatalogueState(read_catalogue(members), read_results(studio))
    hubs = read_hubs(members)
    sources = find_sources(need_view.list_missing(lacking, state), hubs)
    hosts = [member.name for member in members if "comfyui" in member.groups]
    data: NeedsData = {
        "inventory": str(studio.path),
        "workflow": workflow.name,
        "min_version": workflow.min_version,
        "made_with": requirements.made_with,
        "switched_off": workflow.workflow.switched_off,
        "models": need_view.describe_models(lacking, offers, state, sources, hubs),
        "classes": need_view.describe_classes(lacking),
        "hosts": need_view.describe_hosts(hosts, lacking, offers, workflow.min_version),
        "fetched": [],
    }
    return Findings(data, sources, offers.unreachable)


def _list_entries(rows: Sequence[NeededModelData], members: Sequence[Member]) -> list[str]:
    """Return the names of the catalogue's models that these rows are of."""
    listed = read_catalogue(members)
    paths = {f"{row['folder']}/{row['name']}" for row in rows}
    names = {row["name"] for row in rows if not row["folder"]}
    return [model.path for model in listed if model.path in paths or names.intersection(model.names)]


def _confirm(rows: Sequence[NeededModelData], terminal: Terminal) -> None:
    """Ask whether to fetch the models, with the sum of their sizes and their licences.

    Raises:
        DriverError: the user answered no.
    """
    size = model_progress.format_bytes(sum(row["size"] for row in rows))
    without = sum(not row["size"] for row in rows)
    more = f" and {without} of unknown size" if without else ""
    licences = ", ".join(dict.fromkeys(row["licence"] or "not known" for row in rows))
    count = "1 model" if len(rows) == 1 else f"{len(rows)} models"
    terminal.print(f"{count} to fetch: {size}{more}. Licences: {licences}.")
    for row in rows:
        if row["gated"]:
            terminal.print(
                f"  {row['name']} is gated: accept its licence on its page, with the account whose token "
                "noslop_models_tokens names."
            )
    terminal.require_consent("Add to the catalogue what it lacks, and fetch them?")


def _make_result(findings: Findings, *, fetchable: int) -> CommandResult:
    """Return the result; the error says what to do where something is missing."""
    data = findings.data
    if need_view.is_complete(data):
        return CommandResult(ExitCode.OK, cast("Mapping[str, object]", data))
    message = "The workflow cannot run on every host: see above what is missing."
    if fetchable:
        words = ["noslop-driver", "models", "need", data["workflow"], "--pull", "--inventory", data["inventory"]]
        message += f" {shlex.join(words)} fetches {'1 model' if fetchable == 1 else f'{fetchable} models'} of it."
    code = ExitCode.UNREACHABLE if findings.unreachable else ExitCode.FAILED
    return CommandResult(code, cast("Mapping[str, object]", data), message)
