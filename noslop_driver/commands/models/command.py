# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the studio's models, and fetch those that are missing, once for all hosts."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue
from rich.markup import escape
from rich.table import Table

from noslop_driver.commands.login import read_login
from noslop_driver.commands.models import state as model_state
from noslop_driver.commands.models.adopt import adopt
from noslop_driver.commands.models.bench import bench_models
from noslop_driver.commands.models.catalogue import read_catalogue
from noslop_driver.commands.models.dedupe import dedupe
from noslop_driver.commands.models.edit import add_entries, remove_from_catalogue, show_change
from noslop_driver.commands.models.need import show_needs
from noslop_driver.commands.models.result import ModelData, ModelListData, ModelPullData, ModelResultData
from noslop_driver.commands.models.run import ask_secrets, run_models
from noslop_driver.commands.models.search import search_models
from noslop_driver.commands.models.trash import collect_models, remove_model, restore_models
from noslop_driver.commands.models.warm import warm_models
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.studio import find_studio, lock_studio, read_members
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts.login import Login
from noslop_driver.hubs.metadata import ModelEntry
from noslop_driver.inventory.directory import STUDIO, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import MODELS, MODELS_LOOK

_STATES = {"add": "present", "pull": "present", "verify": "verified", "stop": "stopped"}
"""The state that the role brings about for each command."""

_COMMANDS = {
    "adopt": adopt,
    "dedupe": dedupe,
    "gc": collect_models,
    "remove": remove_model,
    "restore": restore_models,
    "search": search_models,
}
"""The commands that have a room of their own."""


def models(options: Options, terminal: Terminal) -> CommandResult:
    """Show the catalogue, fetch what it names, or stop a download."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    if options.action in _COMMANDS and not options.keep_file:
        return _COMMANDS[options.action](studio, options, terminal)
    if options.action == "list":
        return _list_models(studio, options, terminal)
    login = read_login(options, terminal)
    if options.action == "need":
        return show_needs(studio, login, options, terminal, lambda names: _run(studio, login, "pull", names, terminal))
    names = list(options.models)
    if options.action in ("add", "remove"):
        names = [_edit(studio, login, options, terminal)]
        if options.action == "remove" or options.no_run:
            listing: ModelListData = {"inventory": str(studio.path), "models": _describe_all(studio, login.user)}
            return CommandResult(ExitCode.OK, cast("Mapping[str, object]", listing))
    return _run(studio, login, options.action, names, terminal)


def _edit(studio: StudioDirectory, login: Login, options: Options, terminal: Terminal) -> str:
    """Add or remove an entry of the catalogue, after the user has confirmed it. Return the name of its model."""
    adds = options.action == "add"
    members = read_members(studio.path, login.user)
    entry, model = show_change(studio, members, options, terminal)
    if adds and not options.no_run and model.path:
        entries = [*(members[0].variables.get(catalogue.VARIABLE) or []), entry]
        _show_share(studio, ask_secrets(studio, login, terminal), terminal, entries, model)
    terminal.require_consent("Change the catalogue?")
    with lock_studio(studio, terminal):
        members = read_members(studio.path, login.user)
        if adds:
            add_entries(studio, members, [entry], terminal)
        else:
            remove_from_catalogue(studio, members, model.name, terminal)
    return model.name


def _show_share(
    studio: StudioDirectory, login: Login, terminal: Terminal, entries: Sequence[ModelEntry], model: catalogue.Model
) -> None:
    """Print how much room the share has for a new model, and which of its files have the same content."""
    variables = {catalogue.VARIABLE: list(entries), "studio_models_names": [model.name]}
    result, __ = run_models("models add", MODELS_LOOK, studio, login, terminal, variables=variables, check=True)
    for row in cast("list[ModelResultData]", [row for row in result.models if "free_bytes" in row]):
        terminal.print(f"Free on the share: {model_progress.format_bytes(row.get('free_bytes', 0))}")
        if row["state"] == "present":
            terminal.print(f"The share has a {model.name} already: it is compared, and not replaced.")
        for path in row.get("same_as", []):
            terminal.print(f"The share has the same content already: {path}")
        if model.size > row.get("free_bytes", model.size) and row["state"] != "present":
            terminal.warn("There is not enough room for it.")


def _run(studio: StudioDirectory, login: Login, action: str, names: Sequence[str], terminal: Terminal) -> CommandResult:
    """Run the playbook for the models with these names, for all without names."""
    members = read_members(studio.path, login.user)
    listed = read_catalogue(members)
    chosen = _choose(listed, names)
    if action == "warm":
        return warm_models(studio, members, chosen, login=login, names=names, terminal=terminal)
    if not chosen and action != "stop":
        raise UsageError(_explain_empty(studio))
    if action == "bench":
        return bench_models(studio, chosen, login=login, terminal=terminal)
    stops = action == "stop"
    variables: dict[str, Any] = {"studio_models_state": _STATES[action]}
    if not stops:
        variables |= _select(chosen, listed)
    command = f"models {'pull' if action == 'add' else action}"
    login = ask_secrets(studio, login, terminal)
    result, run_data = run_models(command, MODELS, studio, login, terminal, variables=variables)
    results = cast("list[ModelResultData]", [row for row in result.models if "received" in row])
    if not stops:
        model_state.save_results(studio, results)
        model_state.add_metrics(studio, results, members)
        _print_results(results, terminal)
    warm = model_state.save_warm(studio, result.warm)
    for row in warm:
        terminal.print(f"  {model_state.format_warm(row)}")
    data: ModelPullData = {**run_data, "models": results, "warm": warm}
    message = result.message
    if result.code is ExitCode.INTERRUPTED and not stops:
        message += " What was fetched of a model is kept: the next 'noslop-driver models pull' goes on from there."
    return CommandResult(result.code, data, message)


def _choose(listed: Sequence[catalogue.Model], names: Sequence[str]) -> list[catalogue.Model]:
    """Return the models with these names, all without names. The name of a file counts too.

    Raises:
        UsageError: no model has a name.
    """
    if not names:
        return list(listed)
    chosen = []
    for name in names:
        found = [one for one in listed if name in one.names]
        if not found:
            known = ", ".join(one.name for one in listed) or "none"
            raise UsageError(f"{name} is not in the catalogue. In it: {known}.")
        chosen += found
    return list(dict.fromkeys(chosen))


def _select(chosen: Sequence[catalogue.Model], listed: Sequence[catalogue.Model]) -> dict[str, Any]:
    """Return the variable that limits a run to the chosen models; none where all are."""
    if list(chosen) == list(listed):
        return {}
    return {"studio_models_names": [one.name for one in chosen]}


def _print_results(results: Sequence[ModelResultData], terminal: Terminal) -> None:
    fetched = [one for one in results if one["state"] == "fetched"]
    present = sum(one["state"] == "present" for one in results)
    verified = sum(one["state"] == "verified" for one in results)
    if verified:
        terminal.print(f"{verified} of {len(results)} models are what they were.")
        return
    for one in fetched:
        terminal.print(f"  fetched {one['path']} ({model_progress.format_bytes(one['size'])}, SHA-256 {one['sha256']})")
    if results:
        received = model_progress.format_bytes(sum(one["received"] for one in results))
        count = "1 model" if len(fetched) == 1 else f"{len(fetched)} models"
        terminal.print(f"{count} fetched ({received}), {present} there already.")


def _list_models(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Print each model of the catalogue, with what the last run reported of it."""
    rows = _describe_all(studio, options.user or getpass.getuser())
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "size", "SHA-256", "licence", "on the share", "warm"):
        table.add_column(heading)
    for row in rows:
        size = model_progress.format_bytes(row["size"]) if row["size"] else ""
        digest = row["sha256"][:12] + (" (recorded)" if row["sha256"] and row["sha256_is_recorded"] else "")
        licence = f"{row['licence']}{' (gated)' if row['gated'] else ''}"
        fetched = "yes" if row["fetched"] else "no"
        warm = f"{len(row['warm_on'])} of {len(row['warm_hosts'])} hosts" if row["warm_hosts"] else ""
        table.add_row(*map(escape, (row["name"], size, digest, licence.strip(), fetched, warm)))
    if rows:
        terminal.print_table(table)
    else:
        terminal.print(_explain_empty(studio))
    data: ModelListData = {"inventory": str(studio.path), "models": rows}
    return CommandResult(ExitCode.OK, cast("Mapping[str, object]", data))


def _explain_empty(studio: StudioDirectory) -> str:
    return f"The catalogue has no models. Write them into {catalogue.VARIABLE} in {studio.path / STUDIO}."


def _describe_all(studio: StudioDirectory, user: str) -> list[ModelData]:
    members = read_members(studio.path, user)
    results, warm = model_state.read_results(studio), model_state.read_warm(studio)
    return [
        _describe(
            model,
            results.get(model.name),
            model_state.list_warm_hosts(model, members),
            [row["host"] for row in warm if row["path"] == model.name and row["state"] == "warm"],
        )
        for model in read_catalogue(members)
    ]


def _describe(
    model: catalogue.Model, result: ModelResultData | None, warm_hosts: Sequence[str], warm_on: Sequence[str]
) -> ModelData:
    return {
        "name": model.name,
        "source": model.url or ("ollama" if model.ollama else "local"),
        "size": model.size or (result["size"] if result else 0),
        "sha256": model.sha256 or (result["sha256"] if result else ""),
        "sha256_is_recorded": not model.sha256 and result is not None,
        "licence": model.licence,
        "gated": model.gated,
        "fetched": result is not None,
        "warm_hosts": list(warm_hosts),
        "warm_on": [host for host in warm_hosts if host in warm_on],
    }
