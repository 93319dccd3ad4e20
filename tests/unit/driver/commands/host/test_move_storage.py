# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a move of the storage is refused for, and what it leaves as it is when it fails. The servers are real."""

from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.errors import ExitCode
from tests.support.driver_cli import run, run_json, spawn_on_terminal
from tests.support.ssh_studio import SshStudio, refuse_commands
from tests.unit.conftest import StartSshd

pytestmark = pytest.mark.slow

MOVE = ("host", "move-storage")


@pytest.fixture
def studio(tmp_path: Path, sshd_server: StartSshd, monkeypatch: pytest.MonkeyPatch) -> SshStudio:
    monkeypatch.chdir(tmp_path)
    servers = {
        "server": sshd_server("127.0.0.84", options=refuse_commands(tmp_path)),
        "worker": sshd_server("127.0.0.85", options=refuse_commands(tmp_path)),
    }
    return SshStudio(tmp_path / "inventories/studio", servers)


def write_variable(studio: SshStudio, line: str) -> None:
    path = studio.directory.path / "group_vars/all/studio.yml"
    path.write_text(f"{path.read_text()}{line}\n")


@pytest.mark.long
def test_failed_move_leaves_the_inventory(studio: SshStudio) -> None:
    before = studio.hosts
    output, done = run_json(*MOVE, "worker", "--yes")
    assert done.returncode == ExitCode.FAILED
    assert [phase["phase"] for phase in output["phases"]] == ["move"]
    assert (output["old_server"], output["server"], output["switched"]) == ("server", "worker", False)
    assert "noslop-driver host move-storage worker --inventory" in output["error"]
    assert output["left_out"].keys() == {"worker2"}
    assert studio.hosts == before


def test_check_asks_nothing_and_leaves_no_record(studio: SshStudio) -> None:
    output, _done = run_json(*MOVE, "worker", "--check")
    assert [phase["phase"] for phase in output["phases"]] == ["move"]
    assert output["record"] is None
    assert not studio.directory.records.exists()


@pytest.mark.long
def test_move_that_was_switched_is_finished_and_not_undone(studio: SshStudio) -> None:
    output, _done = run_json(*MOVE, "server", "--yes")
    assert [phase["phase"] for phase in output["phases"]] == ["preflight"]
    assert (output["old_server"], output["switched"]) == (None, True)
    done = run(*MOVE, "server", "--undo", "--yes")
    assert done.returncode == ExitCode.USAGE
    assert "not given up any more" in done.stderr


def test_undo_runs_alone_and_changes_no_inventory(studio: SshStudio) -> None:
    before = studio.hosts
    output, done = run_json(*MOVE, "worker", "--undo", "--yes")
    assert [phase["phase"] for phase in output["phases"]] == ["move_undo"]
    assert "host move-storage worker --undo --inventory" in output["error"]
    assert done.returncode != 0
    assert studio.hosts == before


@pytest.mark.parametrize(
    ("variable", "message"),
    [("noslop_storage_provider: existing", "docs/scale.md"), ("noslop_storage_provider: local", "no other host")],
)
def test_storage_that_noslop_does_not_serve_is_refused(studio: SshStudio, variable: str, message: str) -> None:
    write_variable(studio, variable)
    done = run(*MOVE, "worker", "--yes")
    assert done.returncode == ExitCode.USAGE
    assert message in done.stderr


def test_unknown_host_is_refused_with_the_way_to_add_it(studio: SshStudio) -> None:
    done = run(*MOVE, "nas", "--yes")
    assert done.returncode == ExitCode.USAGE
    assert "nas is no host of" in done.stderr
    assert "noslop-driver host add" in done.stderr


def test_new_server_that_is_away_is_refused_before_a_change(studio: SshStudio) -> None:
    done = run(*MOVE, "worker2", "--yes")
    assert done.returncode == ExitCode.UNREACHABLE
    assert "worker2 does not answer" in done.stderr


def test_groups_that_would_be_wrong_are_refused(studio: SshStudio) -> None:
    more = studio.directory.path / "more.yml"
    more.write_text("storage_clients: {children: {cards: {hosts: {worker2: }}}}\n", encoding="utf-8")
    before = studio.hosts
    done = run(*MOVE, "worker2", "--yes")
    assert done.returncode == ExitCode.PREFLIGHT
    assert "server and client at once: worker2" in " ".join(done.stderr.split())
    assert studio.hosts == before


def test_what_is_done_is_shown_before_the_question(studio: SshStudio) -> None:
    (studio.directory.path / "backend.yml").write_text("backend: {hosts: {server: }}\n", encoding="utf-8")
    child = spawn_on_terminal(*MOVE, "worker")
    child.expect_exact("This moves the storage from server (")
    child.expect_exact("the groups change in hosts.yml")
    child.expect_exact("the backend and its database stay on server")
    child.expect(r"Move the storage\?")
    child.sendline("n")
    child.expect("nothing was changed")
    child.close()
