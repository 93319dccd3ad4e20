# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove models and bring them back, and find those that nothing names: each run shows first what it will do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress
from rich.markup import escape
from rich.table import Table

from noslop_driver.commands.login import read_login
from noslop_driver.commands.models.edit import add_entries, find_entry, remove_from_catalogue
from noslop_driver.commands.models.result import ModelTrashData, TrashedModelData
from noslop_driver.commands.models.run import ask_secrets, run_models
from noslop_driver.commands.models.state import read_removed, save_removed
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult, RunData
from noslop_driver.commands.studio import lock_studio, read_members
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts.login import Login
from noslop_driver.hubs.metadata import ModelEntry
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import MODELS_TRASH, RunResult

_LISTED_USES = 10
_VERBS = {"trashed": "move to the trash", "restored": "move back", "removed": "remove for good"}


def remove_model(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Show what names a model, move it to the trash, and remove it from the catalogue."""
    login = read_login(options, terminal)
    members = read_members(studio.path, login.user)
    entry, model = find_entry(studio, members, str(options.model))
    login = ask_secrets(studio, login, terminal)
    variables = _select([model.name], "trashed")
    command = f"models remove {shlex.quote(model.name)}"
    predicted, run_data = run_models(command, MODELS_TRASH, studio, login, terminal, variables=variables, check=True)
    rows = _read_rows(predicted)
    if not rows:
        return _finish(predicted, run_data, rows)
    if predicted.code is not ExitCode.OK:
        terminal.warn(f"It is not known which workflows name {model.name}: {predicted.message}")
    _print_uses(rows, terminal)
    terminal.require_consent(f"Remove {model.name}, {_count_bytes(rows)}?")
    result, run_data = run_models(
        command, MODELS_TRASH, studio, login, terminal, variables={**variables, "studio_models_asks_backend": False}
    )
    rows = _read_rows(result)
    if result.code is ExitCode.OK:
        with lock_studio(studio, terminal):
            save_removed(studio, {**read_removed(studio), model.name: entry})
            remove_from_catalogue(studio, read_members(studio.path, login.user), model.name, terminal)
        terminal.print(f"It is in the trash for a while. The way back: noslop-driver models restore {model.name}")
    return _finish(result, run_data, rows)


def restore_models(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Bring models back from the trash, with their entries; without names, show what lies there."""
    login = ask_secrets(studio, read_login(options, terminal), terminal)
    removed = read_removed(studio)
    names = [_find_name(name, removed) for name in options.models]
    variables = _select(names, "restored" if names else "listed")
    result, run_data = run_models("models restore", MODELS_TRASH, studio, login, terminal, variables=variables)
    rows = _read_rows(result)
    if not names:
        _print_trash(rows, terminal)
    if result.code is ExitCode.OK and names:
        _restore_entries(studio, [row["path"] for row in rows if row["state"] == "restored"], login, terminal)
        missing = sorted({row["path"] for row in rows if row["state"] == "missing"})
        if missing:
            message = f"Not in the trash: {', '.join(missing)}. 'noslop-driver models restore' lists what is there."
            return CommandResult(ExitCode.FAILED, _make_data(run_data, rows), message)
    return _finish(result, run_data, rows)


def collect_models(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Show what nothing names, and move it to the trash where the user wants that."""
    login = ask_secrets(studio, read_login(options, terminal), terminal)
    variables = {"studio_models_trash_state": "collected", "studio_models_trash_days": options.trash_days}
    result, run_data = run_models("models gc", MODELS_TRASH, studio, login, terminal, variables=variables, check=True)
    rows = _read_rows(result)
    if result.code is ExitCode.OK:
        _print_unused(rows, terminal)
    if result.code is not ExitCode.OK or not rows or not options.apply:
        if rows and not options.apply:
            terminal.print("Nothing was changed. 'noslop-driver models gc --apply' does it.")
        return _finish(result, run_data, rows)
    terminal.require_consent("Do this?")
    result, run_data = run_models("models gc --apply", MODELS_TRASH, studio, login, terminal, variables=variables)
    rows = _read_rows(result)
    terminal.print(f"{_count_bytes([row for row in rows if row['state'] == 'removed'])} are free again.")
    return _finish(result, run_data, rows)


def _select(names: Sequence[str], state: str) -> dict[str, Any]:
    """Return the variables of a run about these models."""
    is_ollama = [":" in name.rpartition("/")[2] for name in names]
    return {
        "studio_models_trash_state": state,
        "studio_models_trash_files": [name for name, one in zip(names, is_ollama, strict=True) if not one],
        "studio_models_trash_ollama": [name for name, one in zip(names, is_ollama, strict=True) if one],
    }


def _read_rows(result: RunResult) -> list[TrashedModelData]:
    return cast("list[TrashedModelData]", result.models)


def _find_name(name: str, removed: Mapping[str, ModelEntry]) -> str:
    """Return the full name of a removed model that is called by its file's name, or in Ollama without its tag."""
    matches = [one for one in removed if name in (one, one.rpartition("/")[2], one.rpartition(":")[0])]
    if len(matches) > 1 and name not in matches:
        raise UsageError(f"{name} is the name of several models in the trash: {', '.join(matches)}.")
    return name if name in matches or not matches else matches[0]


def _restore_entries(studio: StudioDirectory, names: Sequence[str], login: Login, terminal: Terminal) -> None:
    """Add the entries of models that are back to the catalogue, where they are known."""
    removed = read_removed(studio)
    with lock_studio(studio, terminal):
        for name in names:
            members: Sequence[Member] = read_members(studio.path, login.user)
            if name not in removed:
                terminal.print(f"{name} is back. The catalogue had no entry for it, and has none now.")
                continue
            add_entries(studio, members, [removed.pop(name)], terminal)
            save_removed(studio, removed)
            terminal.print(f"{name} is back, and in the catalogue.")


def _print_uses(rows: Sequence[TrashedModelData], terminal: Terminal) -> None:
    """Print what names the models that go."""
    for row in rows:
        if row["state"] == "missing":
            terminal.print(f"{row['path']} is not on the share; only its entry is removed.")
            continue
        uses = row["uses"]
        documents = uses.get("documents") or []
        for one in documents[:_LISTED_USES]:
            versions = ", ".join(map(str, one["versions"]))
            terminal.print(f"  named by the {one['kind']} {one['name']} in {one['project']}, version {versions}")
        if len(documents) > _LISTED_USES:
            terminal.print(f"  and by {len(documents) - _LISTED_USES} more workflows and prompts")
        if uses.get("media_count"):
            where = ", ".join(uses["media_projects"])
            terminal.print(f"  {uses['media_count']} files were made with it, in {where}; they stay")
        if uses and not documents:
            terminal.print(f"No workflow of a project names {row['path']}.")


def _print_unused(rows: Sequence[TrashedModelData], terminal: Terminal) -> None:
    if not rows:
        terminal.print("Nothing is unused, and nothing is old in the trash.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("what is done", "model", "size", "why"):
        table.add_column(heading)
    for row in rows:
        cells = (_VERBS[row["state"]], row["path"], model_progress.format_bytes(row["size"]), row["reason"])
        table.add_row(*map(escape, cells))
    terminal.print_table(table)
    for state, verb in _VERBS.items():
        chosen = [row for row in rows if row["state"] == state]
        if chosen:
            terminal.print(f"{verb}: {len(chosen)} files, {_count_bytes(chosen)}")


def _print_trash(rows: Sequence[TrashedModelData], terminal: Terminal) -> None:
    if not rows:
        terminal.print("The trash is empty.")
    for row in rows:
        terminal.print(f"  {row['removed']}  {model_progress.format_bytes(row['size']):>9}  {row['path']}")


def _count_bytes(rows: Sequence[TrashedModelData]) -> str:
    return model_progress.format_bytes(sum(row["size"] for row in rows))


def _make_data(run_data: RunData, rows: Sequence[TrashedModelData]) -> Mapping[str, object]:
    data: ModelTrashData = {**run_data, "models": list(rows)}
    return cast("Mapping[str, object]", data)


def _finish(result: RunResult, run_data: RunData, rows: Sequence[TrashedModelData]) -> CommandResult:
    return CommandResult(result.code, _make_data(run_data, rows), result.message)
