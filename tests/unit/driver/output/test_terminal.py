# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that control characters in text from hosts do not reach the terminal."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from noslop_driver.ansible.events import Event
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import facts
from noslop_driver.models import Candidate, StudioSettings
from noslop_driver.output.printable import printable
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import Phase, PhaseRunner
from noslop_driver.planning import view
from noslop_driver.planning.planner import make_plan
from noslop_driver.records import NODE_ENV, Record
from noslop_driver.secrets import Secrets
from tests.support.driver_cli import spawn_on_terminal
from tests.support.plays import local_inventory, write_playbook
from tests.unit.conftest import StartSshd

CONTROLS = "be\x1b[2J\x1b[31mfo\x1b]0;title\x07r\x1b]8;;http://x\x1b\\e\x9b1A\x85\u202e\x07\x08"
"""The word "before" with control sequences for clearing, colour, window title, link, cursor and text direction."""
STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""The colours that the driver itself prints. Those in text from hosts are removed before."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("Grüße, 世界 🎨", "Grüße, 世界 🎨"),
        (CONTROLS, "before"),
        ("10 %\r20 %\r\ndone", "10 %\n20 %\ndone"),
        ("\x1b]0;never ended", "0;never ended"),
        ("\x1b]0;never ended\nnext line\x07", "0;never ended\nnext line"),
        ("\x1b\x1b[2J[2J", "[2J"),
        ("\x1bP1$q\x1b\\\x1bc\x1b(0x", "x"),
        ("\x90q\x9cy\x9dz\x9c", "y"),
        ("\ud800", ""),
    ],
)
def test_printable_removes_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.one_of(st.characters(), st.sampled_from("\x1b[]\x9b\x9c\x07\r\n;mPX^_0")), max_size=60))
def test_printable_text_has_no_control_characters(text: str) -> None:
    shown = printable(text)
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t"]
    assert printable(shown) == shown


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal that treats standard output as a terminal with colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal()


def find_control_characters(output: str) -> list[str]:
    """Return the control characters in an output, except line ends and the driver's own colours."""
    return [char for char in STYLE.sub("", output) if unicodedata.category(char) == "Cc" and char != "\n"]


def test_facts_are_printed_without_control_characters(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    words = {
        "ansible_hostname": f"hostname-{CONTROLS}",
        "ansible_distribution": "Debian",
        "ansible_distribution_version": "12",
        "ansible_architecture": f"x86_64{CONTROLS[2:6]}",
        "ansible_service_mgr": "systemd",
    }
    gpu = {
        "vendor": "nvidia",
        "name": f"GPU-{CONTROLS}[link=http://x]\nX",
        "driver": CONTROLS,
        "usable": False,
        "why": f"why-{CONTROLS}",
    }
    mounts = [{"mount": f"/{CONTROLS}", "fstype": CONTROLS, "size_total": 5, "size_available": 5}]
    gathered = {**words, "noslop_gpus": [gpu], "ansible_mounts": mounts, "ansible_machine_id": CONTROLS}
    events = [
        Event(kind="ok", time="", host="10.0.0.5", result={"ansible_facts": gathered}),
        Event(kind="failed", time="", host="10.0.0.5", result={"msg": f"failed-{CONTROLS}"}),
    ]
    candidate = Candidate(address="10.0.0.5", status="open", banner=f"SSH-2.0-{CONTROLS}")
    gathered_facts = facts.parse_events(facts.make_targets([candidate]), "artist", events)
    view.print_plan(
        make_plan(gathered_facts.hosts, StudioSettings(studio_id="x", storage_root="/"), gathered_facts.problems),
        terminal,
    )
    output = capsys.readouterr().out
    assert find_control_characters(output) == []
    for word in ("GPU-before[link=http://x] X", "why-before", "hostname-before"):
        assert word in output


def test_messages_of_ansible_are_printed_without_control_characters(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment = base64.b64encode(f"NAME={CONTROLS}\n".encode()).decode()
    tasks = [
        {"name": "report | Print a message", "ansible.builtin.debug": {"msg": f"said-{CONTROLS}"}},
        {
            "name": "report | Read the environment",
            "return_result": {"result": {"source": NODE_ENV, "content": environment}},
        },
        {"name": f"report | Refuse {CONTROLS}", "ansible.builtin.fail": {"msg": f"refused-{CONTROLS}"}},
    ]
    record = Record(tmp_path / "records", "deploy", Secrets())
    terminal = Terminal()
    runner = PhaseRunner(
        terminal=terminal,
        inventory=local_inventory(tmp_path / "inventory"),
        members=[],
        secrets=Secrets(),
        record=record,
        retry_command="noslop-driver deploy",
    )
    phase = Phase("preflight", "looking", str(write_playbook(tmp_path / "play", *tasks)))
    result = runner.run([phase])
    record.finish(int(result.code), result.message, "test")
    terminal.print_error(result.message)
    assert result.code is ExitCode.FAILED
    output = "".join(capsys.readouterr())
    assert find_control_characters(output) == []
    for word in ("said-before", "refused-before", "Refuse before"):
        assert word in output
    for file in record.path.rglob("*"):
        if file.is_file():
            assert find_control_characters(file.read_text(encoding="utf-8")) == [], file
    assert json.loads((record.path / "outcome.json").read_text(encoding="utf-8"))["ok"] is False


def test_part_of_an_address_is_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add_row("fd00:b::1")
    terminal = Terminal()
    terminal.print("fd00:a::1")
    terminal.print_table(table)
    shown = capsys.readouterr().out
    assert "fd00:a::1" in shown
    assert "fd00:b::1" in shown


def test_banner_of_a_server_is_not_markup(sshd_server: StartSshd) -> None:
    server = sshd_server(options=["VersionAddendum [link=http://evil]click[/link]"])
    child = spawn_on_terminal("discover", "--host", server.host)
    child.expect_exact("[link=http://evil]click[/link]")
    child.wait()
    child.close()
    assert child.exitstatus == 0
