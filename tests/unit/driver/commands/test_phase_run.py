# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a run of phases prints and logs: with a real ansible-playbook on this computer."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from noslop_driver.commands.phase_run import run_phases
from noslop_driver.errors import ExitCode
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import VERIFY
from noslop_driver.records import Record
from noslop_driver.secrets import SCRUBBED, Secrets
from tests.support.plays import local_inventory, write_playbook

SSH_PASSWORD = "correct horse"  # noqa: S105 - a test password
SUDO_PASSWORD = 'battery "staple" ü'  # noqa: S105 - a test password
LOGIN = Login("artist", secrets=Secrets(SSH_PASSWORD, SUDO_PASSWORD))
HIDDEN = "hidden-by-no-log"


class Run:
    """A run of one phase whose tasks show passwords, change a file and print escape sequences."""

    def __init__(self, directory: Path, terminal: Terminal, *, fails: bool) -> None:
        command = ["sh", "-c", f"echo '{SSH_PASSWORD}'; printf '\\033[31mred'; echo 'a result'"]
        tasks: list[dict[str, Any]] = [
            {
                "name": "write | Write a file",
                "ansible.builtin.copy": {"dest": str(directory / "file"), "content": f"a line\n{SSH_PASSWORD}\n"},
            },
            {
                "name": "write | Write a secret",
                "ansible.builtin.copy": {"dest": str(directory / "secret"), "content": f"{HIDDEN}\n"},
                "no_log": True,
            },
            {"name": "run | Run a command", "ansible.builtin.command": {"argv": command}},
        ]
        if fails:
            message = f"\x1b[31mno room\x1b[0m for {SUDO_PASSWORD}\x07"
            tasks.append({"name": "run | Fail", "ansible.builtin.fail": {"msg": message}})
        phase = replace(VERIFY, playbook=str(write_playbook(directory / "play", *tasks)))
        studio = StudioDirectory(local_inventory(directory / "inventory", ["one"]))
        studio.make_state_dir()
        self.record = Record(studio.records, "verify", LOGIN.secrets)
        terminal.print(f"Before the run, with {SUDO_PASSWORD}.")
        self.result, _members = run_phases(
            "verify", (phase,), studio, login=LOGIN, terminal=terminal, record=self.record
        )

    @property
    def log(self) -> str:
        return self.record.log.read_text(encoding="utf-8")


def make_terminal(*, live: bool = False, verbosity: int = 0, diff: bool = False) -> tuple[Terminal, io.StringIO]:
    terminal, text = Terminal(verbosity=verbosity, diff=diff), io.StringIO()
    terminal.out = terminal.err = Console(file=text, width=200, force_terminal=live, color_system=None, highlight=False)
    return terminal, text


@pytest.mark.parametrize("live", [False, True], ids=["plain lines", "live table"])
def test_log_of_a_failed_run_has_tasks_and_messages_without_secrets(tmp_path: Path, live: bool) -> None:
    terminal, text = make_terminal(live=live)
    run = Run(tmp_path, terminal, fails=True)
    assert run.result.code is ExitCode.FAILED
    assert f"Log of this run: {run.record.log}" in text.getvalue()
    assert run.record.log.stat().st_mode & 0o777 == 0o600
    assert run.record.path.stat().st_mode & 0o777 == 0o700
    for part in (
        f"Before the run, with {SCRUBBED}.",
        "noslop-driver 0",
        "1/1 verify: checking that the studio works",
        "write | Write a file",
        "one: changed",
        "one: failed",
        f"no room for {SCRUBBED}",
        "verify failed: one (run | Fail)",
    ):
        assert part in run.log
    for secret in (SSH_PASSWORD, SUDO_PASSWORD, HIDDEN, "a result", "\x1b", "\x07"):
        assert secret not in run.log
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in run.log.splitlines())


@pytest.mark.long
def test_log_of_a_run_that_succeeded_is_kept_without_a_word(tmp_path: Path) -> None:
    terminal, text = make_terminal()
    run = Run(tmp_path, terminal, fails=False)
    assert run.result.code is ExitCode.OK
    assert "Log of this run" not in text.getvalue()
    assert "a result" not in text.getvalue()
    assert run.log.splitlines()[-1].endswith("The run succeeded.")


@pytest.mark.parametrize("verbosity", [1, 3])
def test_verbose_run_prints_the_output_of_tasks_without_secrets(tmp_path: Path, verbosity: int) -> None:
    terminal, text = make_terminal(verbosity=verbosity)
    run = Run(tmp_path, terminal, fails=True)
    shown = text.getvalue().partition("1/1 verify")[2]
    for part in ("TASK [run | Run a command]", "a result", f"no room for {SCRUBBED}", "PLAY RECAP"):
        assert part in shown
    assert ("/play/play.yml:" in shown.split("PLAY RECAP", maxsplit=1)[0]) == (verbosity > 1)
    for secret in (SSH_PASSWORD, SUDO_PASSWORD, HIDDEN, "\x1b", "\x07"):
        assert secret not in shown
    assert "a result" not in run.log


def test_diff_prints_changed_lines_without_secrets(tmp_path: Path) -> None:
    terminal, text = make_terminal(diff=True)
    run = Run(tmp_path, terminal, fails=False)
    shown = text.getvalue()
    assert "+a line" in shown
    assert f"+{SCRUBBED}" in shown
    for hidden in (SSH_PASSWORD, HIDDEN, "a result"):
        assert hidden not in shown
    assert "+a line" not in run.log
    events = (run.record.path / "events.jsonl").read_text(encoding="utf-8")
    assert "a line" not in events
