# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy models that lie on a host to the studio's share, and write them into its catalogue."""

from __future__ import annotations

import getpass
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ansible_collections.noslop.studio.plugins.module_utils.models.model_paths import is_model_path
from ansible_collections.noslop.studio.plugins.plugin_utils.model_progress import format_bytes
from rich.markup import escape
from rich.table import Table

from noslop_driver.commands.login import read_login
from noslop_driver.commands.models.edit import add_entries, read_hubs, require_editable
from noslop_driver.commands.models.result import AdoptData, AdoptedModelData, ModelResultData
from noslop_driver.commands.models.run import ask_secrets, run_models
from noslop_driver.commands.models.state import save_results
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult, RunData
from noslop_driver.commands.studio import lock_studio, read_members
from noslop_driver.errors import DriverError, ExitCode, UsageError
from noslop_driver.hubs.metadata import Hubs, ModelEntry, find_version
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import ADOPT, RunResult


def adopt(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Show what a host has, and after the user has confirmed it, copy what the share lacks."""
    members = read_members(studio.path, options.user or getpass.getuser())
    host, path = _parse_origin(str(options.origin), members)
    variables: dict[str, Any] = {
        "studio_models_adopt_host": host,
        "studio_models_adopt_path": path,
        "studio_models_adopt_folder": options.folder or "",
    }
    # Before hours of copying: what was copied is to be written there.
    require_editable(studio, members)
    login = ask_secrets(studio, read_login(options, terminal), terminal)
    command = f"models adopt {shlex.quote(str(options.origin))}"
    result, run_data = run_models(command, ADOPT, studio, login, terminal, variables=variables)
    data = _make_data(result, run_data)
    if result.code is not ExitCode.OK:
        return _make_result(result, data)
    _print_offers(data, result, terminal)
    new = [row for row in data["offered"] if row["state"] == "new"]
    unlisted = {row["target"]: row for row in reversed(data["offered"]) if _can_be_listed(row)}
    if not new and not unlisted:
        terminal.print("The share and the catalogue have all of them.")
        return _make_result(result, data)
    terminal.require_consent(_make_question(new, len(unlisted), host))
    if new:
        variables |= {"studio_models_adopt_copy": True, "studio_models_adopt_names": [row["target"] for row in new]}
        result, run_data = run_models(command, ADOPT, studio, login, terminal, variables=variables)
        data = _make_data(result, run_data)
    copied = {one["path"] for one in data["models"] if one["state"] in ("fetched", "present")}
    rows = [row for row in unlisted.values() if row["state"] == "present" or row["target"] in copied]
    if rows:
        hubs = read_hubs(studio) if options.look_up else None
        entries = [_make_entry(row, host, hubs, terminal) for row in rows]
        with lock_studio(studio, terminal):
            add_entries(studio, read_members(studio.path, login.user), entries, terminal)
        save_results(studio, data["models"])
        data["added"] = [dict(entry) for entry in entries]
    _print_copied(data, host, terminal)
    return _make_result(result, data)


def _can_be_listed(row: AdoptedModelData) -> bool:
    """Return whether the catalogue lacks a file, and its path can be written there: it needs a folder."""
    return not row["listed"] and "/" in row["target"] and is_model_path(row["target"])


def _make_question(new: Sequence[AdoptedModelData], count: int, host: str) -> str:
    size = format_bytes(sum(row["size"] for row in new))
    files = "1 model" if len(new) == 1 else f"{len(new)} models"
    entries = "1 model" if count == 1 else f"{count} models"
    parts = [f"copy {files} ({size}) from {host} to the share"] if new else []
    parts += [f"write {entries} into the catalogue"] if count else []
    text = " and ".join(parts)
    return f"{text[0].upper()}{text[1:]}?"


def _parse_origin(origin: str, members: Sequence[Member]) -> tuple[str, str]:
    """Return the host and the directory of HOST:PATH."""
    host, separator, path = origin.partition(":")
    names = [member.name for member in members]
    if not separator or not path.startswith("/"):
        raise UsageError(f"{origin!r} is no HOST:PATH. Write it like {names[0]}:/home/artist/ComfyUI/models.")
    if host not in names:
        raise UsageError(f"{host} is no host of the studio. Its hosts are {', '.join(names)}.")
    return host, path


def _make_data(result: RunResult, run_data: RunData) -> AdoptData:
    listings = [one for one in result.returned if "files" in one]
    comparisons = [one for one in result.returned if "decisions" in one]
    first = comparisons[0] if comparisons else {}
    return {
        **run_data,
        "offered": cast("list[AdoptedModelData]", first.get("decisions") or []),
        "ollama": [str(name) for name in (listings[0].get("ollama") or [])] if listings else [],
        "models": cast("list[ModelResultData]", result.models),
        "added": [],
        "host_bytes_before": _read_bytes(listings, 0),
        "host_bytes_after": _read_bytes(listings, -1),
        "share_bytes_before": _read_bytes(comparisons, 0),
        "share_bytes_after": _read_bytes(comparisons, -1),
    }


def _read_bytes(results: Sequence[Mapping[str, Any]], number: int) -> int:
    return int(results[number].get("bytes") or 0) if results else 0


def _make_result(result: RunResult, data: AdoptData) -> CommandResult:
    return CommandResult(result.code, cast("Mapping[str, object]", data), result.message)


def _make_entry(row: AdoptedModelData, host: str, hubs: Hubs | None, terminal: Terminal) -> ModelEntry:
    """Return the entry of a file: a version of the marketplace where that has its content, else one without address."""
    folder, file = posixpath.split(row["target"])
    entry: ModelEntry = {"folder": folder, "file": file}
    version = None
    if hubs:
        try:
            version = find_version(row["sha256"], hubs)
        except DriverError as error:
            terminal.warn(f"Where {file} comes from was not looked up: {error}")
    entry |= {"civitai": version} if version else {"local": True}
    return {**entry, "sha256": row["sha256"], "size": row["size"], "extra": {"adopted": f"{host}:{row['path']}"}}


def _print_offers(data: AdoptData, result: RunResult, terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("file", "size", "", "on the share", "note"):
        table.add_column(heading)
    for row in data["offered"]:
        cells = (row["path"], format_bytes(row["size"]), row["state"], row["target"], row["message"])
        table.add_row(*map(escape, cells))
    skipped = [one for listing in result.returned for one in listing.get("skipped") or []]
    for one in skipped:
        table.add_row(escape(one["path"]), "", "left", "", escape(one["message"]))
    if data["offered"] or skipped:
        terminal.print_table(table)
    for name in data["ollama"]:
        terminal.print(f"Ollama's {name} is pulled by Ollama itself: noslop-driver models add ollama:{name}")


def _print_copied(data: AdoptData, host: str, terminal: Terminal) -> None:
    for name, before, after in (
        (host, data["host_bytes_before"], data["host_bytes_after"]),
        ("the share", data["share_bytes_before"], data["share_bytes_after"]),
    ):
        terminal.print(f"On {name}: {format_bytes(before)} before, {format_bytes(after)} after.")
    for entry in data["added"]:
        if entry.get("local"):
            terminal.print(f"{entry['file']} has no address: the share has the only copy that the studio knows of.")
