# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure on the studio's own hosts how long it takes to load models, with and without memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue
from rich.markup import escape
from rich.table import Table

from noslop_driver.commands.models.result import LoadTimesData, ModelBenchData
from noslop_driver.commands.models.run import ask_secrets, run_models
from noslop_driver.commands.result import CommandResult
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import BENCH


def bench_models(
    studio: StudioDirectory, chosen: Sequence[catalogue.Model], *, login: Login, terminal: Terminal
) -> CommandResult:
    """Let each host read the models twice, one host after the other, and print how long that took."""
    variables = {"model_jobs_bench": [{"path": model.path, "ollama": model.ollama} for model in chosen]}
    login = ask_secrets(studio, login, terminal)
    result, run_data = run_models("models bench", BENCH, studio, login, terminal, variables=variables)
    rows = cast("list[LoadTimesData]", result.load_times)
    _print(rows, terminal)
    data: ModelBenchData = {**run_data, "times": rows}
    return CommandResult(result.code, cast("Mapping[str, object]", data), result.message)


def _print(rows: Sequence[LoadTimesData], terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "host", "size", "without memory", "from memory"):
        table.add_column(heading)
    for row in rows:
        times = [_format(row["size"], seconds) for seconds in (row["cold_s"], row["warm_s"])]
        table.add_row(*map(escape, (row["path"], row["host"], model_progress.format_bytes(row["size"]), *times)))
    if rows:
        terminal.print_table(table)
    for row in rows:
        if row["message"]:
            terminal.print(f"  {row['host']}: {row['message']}")
        elif row["kept_bytes"]:
            kept = model_progress.format_bytes(row["kept_bytes"])
            terminal.print(f"  {row['host']}: {kept} of {row['path']} stayed in memory, because a program uses it.")


def _format(size: int, seconds: float) -> str:
    """Return a time with its rate; empty where nothing was read."""
    return f"{seconds:.2f} s ({model_progress.format_bytes(size / seconds)}/s)" if seconds else ""
