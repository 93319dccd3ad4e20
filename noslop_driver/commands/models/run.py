# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook about models, and show how far its host is."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress

from noslop_driver.commands.models.result import ModelProgressData, ProgressData
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import RunData
from noslop_driver.commands.studio import lock_studio
from noslop_driver.hosts import sudo
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import Phase, RunResult
from noslop_driver.records import Record

PROGRESS = "models-progress.json"
"""The file in `.noslop` with the progress of the task that runs."""

PRINT_S = 0.5
"""Seconds between two looks at the progress, for `--json-lines`."""


def ask_secrets(studio: StudioDirectory, login: Login, terminal: Terminal) -> Login:
    """Return the login with the passwords that the hosts want, asked for once for all runs of a command."""
    with lock_studio(studio, terminal):
        return replace(login, secrets=sudo.ask_where_needed(studio.path, login.secrets, terminal))


def run_models(
    command: str,
    phase: Phase,
    studio: StudioDirectory,
    login: Login,
    terminal: Terminal,
    *,
    variables: Mapping[str, Any],
    check: bool = False,
) -> tuple[RunResult, RunData]:
    """Run a playbook without the studio's lock: it may take hours, and other commands may run beside it.

    Args:
        command: the command, such as `models pull`, for the record and the advice to run it again.
        phase: the playbook.
        studio: the directory of the studio.
        login: the account and its passwords.
        terminal: the terminal for progress.
        variables: variables that override the inventory's. No secrets.
        check: predict changes and make none; then there is no record.

    Returns:
        Its result, and its data for `--json`.
    """
    progress_file = studio.state_dir / PROGRESS
    record = None if check else Record(studio.records, command, login.secrets)
    ended = threading.Event()
    if terminal.json_lines:
        threading.Thread(target=_print_progress, args=(progress_file, terminal, ended), daemon=True).start()
    try:
        result, _members = run_phases(
            command,
            (phase,),
            studio,
            login=login,
            terminal=terminal,
            record=record,
            check=check,
            variables={"studio_models_progress_file": str(progress_file.absolute()), **variables},
            details=lambda: read_progress(progress_file),
        )
    finally:
        ended.set()
        progress_file.unlink(missing_ok=True)
    return result, make_run_data(result, studio, record)


def read_progress(path: Path) -> Sequence[str]:
    """Return the progress of the task as lines; none before its first report."""
    return model_progress.format_rows(_read_rows(path))


def _print_progress(path: Path, terminal: Terminal, ended: threading.Event) -> None:
    """Print each change of the progress as a JSON object, until the run has ended."""
    shown: list[ModelProgressData] = []
    while not ended.wait(PRINT_S):
        rows = _read_rows(path)
        if rows and rows != shown:
            shown = rows
            progress: ProgressData = {"progress": rows}
            terminal.print_json(dict(progress))


def _read_rows(path: Path) -> list[ModelProgressData]:
    """Return the models of the run, as the host reports them; none before its first report."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [_make_row(row) for row in rows]


def _make_row(row: Mapping[str, Any]) -> ModelProgressData:
    left = row["size"] - row["received"]
    return {
        "path": row["path"],
        "state": row["state"],
        "received": row["received"],
        "size": row["size"],
        "rate": row["rate"],
        "seconds_left": left / row["rate"] if row["size"] and row["rate"] >= 1 else None,
    }
