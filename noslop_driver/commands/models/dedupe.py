# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Join equal files of the studio's models on the storage server, and show what that saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ansible_collections.noslop.studio.plugins.plugin_utils.model_progress import format_bytes
from rich.markup import escape
from rich.table import Table

from noslop_driver.commands.login import read_login
from noslop_driver.commands.models.result import DedupeData, DuplicateData, SkippedModelData
from noslop_driver.commands.models.run import ask_secrets, run_models
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.errors import ExitCode
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import DEDUPE


def dedupe(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Join the files, or with `--check` show which would be joined."""
    command = "models dedupe --check" if options.check else "models dedupe"
    variables = {"studio_models_hard_links": options.hard_links}
    login = ask_secrets(studio, read_login(options, terminal), terminal)
    result, run_data = run_models(command, DEDUPE, studio, login, terminal, variables=variables, check=options.check)
    returned = result.returned[-1] if result.returned else {}
    data: DedupeData = {
        **run_data,
        "duplicates": cast("list[DuplicateData]", returned.get("duplicates") or []),
        "skipped": cast("list[SkippedModelData]", returned.get("skipped") or []),
        "bytes_before": int(returned.get("bytes_before") or 0),
        "bytes_after": int(returned.get("bytes_after") or 0),
        "bytes_apart": int(returned.get("bytes_apart") or 0),
    }
    if result.code is ExitCode.OK:
        _print(data, terminal, check=options.check)
    return CommandResult(result.code, cast("Mapping[str, object]", data), result.message)


def _print(data: DedupeData, terminal: Terminal, *, check: bool) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("file", "size", "same as", "would be" if check else "is now"):
        table.add_column(heading)
    for row in data["duplicates"]:
        state = row["state"] if not row["message"] else f"{row['state']}: {row['message']}"
        cells = (f"{row['share']}/{row['path']}", format_bytes(row["size"]), row["same_as"], state)
        table.add_row(*map(escape, cells))
    if data["duplicates"]:
        terminal.print_table(table)
    for skipped in data["skipped"]:
        terminal.print(f"  not compared: {skipped['share']}/{skipped['path']}: {skipped['message']}")
    before, after = data["bytes_before"], data["bytes_after"]
    saved = f"{format_bytes(before - after)} {'would be' if check else 'were'} saved"
    terminal.print(f"Models on the disk: {format_bytes(before)} before, {format_bytes(after)} after; {saved}.")
    if data["bytes_apart"]:
        terminal.print(f"{format_bytes(data['bytes_apart'])} are there twice and stay so, for the reasons above.")
