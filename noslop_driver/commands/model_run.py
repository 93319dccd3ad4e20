# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook about models, and return what the hosts report of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from noslop_driver.commands.phase_run import run_phases
from noslop_driver.commands.studio import lock_studio
from noslop_driver.hosts import sudo
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import Phase, RunResult
from noslop_driver.records import Record


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
    details: Callable[[], Sequence[str]] | None = None,
) -> tuple[RunResult, Record]:
    """Run one phase without the studio's lock: a download takes hours, and other commands may run beside it.

    Args:
        command: the command, such as `models pull`, for the record and the advice to run it again.
        phase: the playbook.
        studio: the directory of the studio.
        login: the account and its passwords.
        terminal: the terminal for progress.
        variables: variables that override the inventory's. No secrets.
        check: predict changes and make none.
        details: returns lines about how far a download is.
    """
    record = Record(studio.records, command, login.secrets)
    result, _members = run_phases(
        command,
        (phase,),
        studio,
        login=login,
        terminal=terminal,
        record=record,
        check=check,
        variables=variables,
        details=details,
    )
    return result, record
