# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noslop_driver.errors import ExitCode
from noslop_driver.inventory.directory import Member
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import CONFIGURE, PREFLIGHT, SERVICES, STORAGE, TEARDOWN, VERIFY, Deployer, Phase, Result
from noslop_driver.records import NODE_ENV, Record
from noslop_driver.secrets import Secrets
from tests.support.plays import local_inventory, write_playbook

CHECK = {
    "host": "one",
    "check": "storage.mounted",
    "share": "projects",
    "ok": True,
    "seen": "nfs4",
    "expected": "nfs4",
    "todo": "",
}
AGAIN = "noslop-driver deploy --inventory inventories/x"


def touch(path: Path) -> dict[str, object]:
    return {"name": f"make | {path.name}", "ansible.builtin.file": {"path": str(path), "state": "directory"}}


def give_back(name: str, **result: object) -> dict[str, object]:
    return {"name": name, "give_back": {"result": result}}


def refuse(message: str = "no room") -> dict[str, object]:
    return {"name": "look | Refuse", "ansible.builtin.fail": {"msg": message}}


class Rehearsal:
    """Phases with the names and places of the real ones, and playbooks of a task or two."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.inventory = local_inventory(directory / "inventory", ["one", "two"])
        self.record: Record | None = None
        self.released = directory / "released"

    def phase(self, real: Phase, *tasks: dict[str, Any]) -> Phase:
        return replace(real, playbook=str(write_playbook(self.directory / real.name, *tasks)))

    def run(self, phases: Sequence[Phase], *, check: bool = False, limit: str | None = None) -> Result:
        member = Member("one", "10.0.0.1", 22, "artist", frozenset(), {})
        self.record = Record(self.directory / "records", "deploy", Secrets())
        deployer = Deployer(
            terminal=Terminal(no_input=True),
            inventory=self.inventory,
            members=[member],
            secrets=Secrets(),
            record=self.record,
            again=AGAIN,
            check=check,
            limit=limit,
            release=str(write_playbook(self.directory / "release", touch(self.released), hosts="one")),
        )
        result = deployer.run(phases)
        self.record.finish(int(result.code), result.message, "test")
        return result

    def recorded(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON there is
        assert self.record
        return json.loads((self.record.path / name).read_text(encoding="utf-8"))


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    return Rehearsal(tmp_path)


def test_phases_run_in_order_and_leave_a_record(rehearsal: Rehearsal, tmp_path: Path) -> None:
    environment = base64.b64encode(b"NOSLOP_STUDIO_ID=abc\n").decode()
    report = {"ok": True, "checks": [{**CHECK, "host": "one"}, {**CHECK, "host": "two"}]}
    result = rehearsal.run(
        [
            rehearsal.phase(PREFLIGHT, give_back("look | Report", report={"ok": True, "checks": [CHECK]})),
            rehearsal.phase(STORAGE, touch(tmp_path / "made")),
            rehearsal.phase(CONFIGURE, give_back("read | Read it back", source=NODE_ENV, content=environment)),
            rehearsal.phase(VERIFY, {**give_back("report | Report", report=report), "run_once": True}),
        ]
    )
    assert (result.code, result.message) == (ExitCode.OK, "")
    assert [(phase["phase"], phase["status"]) for phase in result.phases] == [
        ("preflight", "ok"),
        ("storage", "ok"),
        ("configure", "ok"),
        ("verify", "ok"),
    ]
    assert result.phases[1]["hosts"]["one"]["changed"] + result.phases[1]["hosts"]["two"]["changed"] >= 1
    assert result.verification == report
    assert rehearsal.recorded("verification.json") == report
    assert rehearsal.record
    assert (rehearsal.record.path / "nodes/two.env").read_text(encoding="utf-8") == "NOSLOP_STUDIO_ID=abc\n"
    events = (rehearsal.record.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["phase"] for line in events] == sorted(
        (json.loads(line)["phase"] for line in events), key=["preflight", "storage", "configure", "verify"].index
    )
    assert rehearsal.recorded("outcome.json")["ok"] is True


def test_a_problem_in_preflight_changes_nothing(rehearsal: Rehearsal, tmp_path: Path) -> None:
    result = rehearsal.run([rehearsal.phase(PREFLIGHT, refuse()), rehearsal.phase(STORAGE, touch(tmp_path / "made"))])
    assert result.code is ExitCode.PREFLIGHT
    assert not (tmp_path / "made").exists()
    assert not rehearsal.released.exists()
    for part in ("one (look | Refuse)", "two (look | Refuse)", "Not run: storage", "Nothing was changed", AGAIN):
        assert part in result.message
    assert rehearsal.recorded("outcome.json")["exit_code"] == 3
    failures = rehearsal.recorded("outcome.json")["phases"][0]["failures"]
    assert sorted((failure["host"], failure["task"]) for failure in failures) == [
        ("one", "look | Refuse"),
        ("two", "look | Refuse"),
    ]


def test_a_phase_that_fails_stops_the_later_ones_and_can_be_run_again(rehearsal: Rehearsal, tmp_path: Path) -> None:
    on_two = {**refuse("the cable is out"), "when": "inventory_hostname == 'two' and not repaired | default(false)"}
    phases = [
        rehearsal.phase(STORAGE, touch(tmp_path / "first"), on_two),
        rehearsal.phase(SERVICES, touch(tmp_path / "second")),
    ]
    result = rehearsal.run(phases)
    assert result.code is ExitCode.FAILED
    assert rehearsal.released.exists()
    assert "two (look | Refuse)" in result.message
    assert "one (" not in result.message
    assert "What is done stays done" in result.message
    assert not (tmp_path / "second").exists()

    local_inventory(rehearsal.inventory, ["one", "two"], repaired=True)
    again = rehearsal.run(phases)
    assert again.code is ExitCode.OK
    assert sum(host["changed"] for host in again.phases[0]["hosts"].values()) == 0
    assert (tmp_path / "second").exists()


def test_a_host_that_does_not_answer_has_its_own_exit_code(rehearsal: Rehearsal) -> None:
    local_inventory(rehearsal.inventory, ["one"], ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    result = rehearsal.run([rehearsal.phase(STORAGE, give_back("look"))])
    assert result.code is ExitCode.UNREACHABLE
    assert "one (unreachable)" in result.message


def test_checks_that_did_not_pass_are_the_failure_and_not_the_task_that_says_so(
    rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {**CHECK, "host": "two", "ok": False, "seen": "a directory", "todo": "mount it"}
    report = {"ok": False, "checks": [CHECK, bad]}
    result = rehearsal.run(
        [
            rehearsal.phase(
                VERIFY,
                {**give_back("report | Report", report=report), "run_once": True},
                {**refuse("1 of 2 checks failed"), "run_once": True},
            )
        ]
    )
    assert result.code is ExitCode.FAILED
    assert "1 check did not pass" in result.message
    assert result.verification == report
    assert result.phases[0]["failures"] == []
    shown = capsys.readouterr().out
    assert "mount it" in shown
    assert "1 of 2 checks failed" not in shown


def test_a_task_that_fails_beside_the_checks_is_told_too(rehearsal: Rehearsal) -> None:
    report = {"ok": False, "checks": [{**CHECK, "ok": False, "todo": "x"}]}
    broken = {**refuse("broken"), "name": "proof | Broken", "when": "inventory_hostname == 'two'"}
    result = rehearsal.run([rehearsal.phase(VERIFY, broken, give_back("report | Report", report=report))])
    assert "two (proof | Broken)" in result.message


def test_check_mode_changes_nothing_and_expects_no_proof(rehearsal: Rehearsal, tmp_path: Path) -> None:
    bare = {"ok": False, "checks": [{**CHECK, "ok": False, "todo": "deploy"}]}
    result = rehearsal.run(
        [rehearsal.phase(STORAGE, touch(tmp_path / "made"), give_back("proof | Report", report=bare))], check=True
    )
    assert result.code is ExitCode.OK
    assert result.phases[0]["changed"] == 2
    assert not (tmp_path / "made").exists()


def test_limit_is_passed_on(rehearsal: Rehearsal) -> None:
    result = rehearsal.run([rehearsal.phase(STORAGE, give_back("look"))], limit="two")
    assert set(result.phases[0]["hosts"]) == {"two"}


def test_a_playbook_that_ansible_cannot_run_is_told(rehearsal: Rehearsal) -> None:
    result = rehearsal.run([replace(STORAGE, playbook="noslop.studio.no_such_playbook")])
    assert result.code is ExitCode.FAILED
    assert "no_such_playbook" in result.message


def test_what_a_teardown_left_is_listed_by_host(rehearsal: Rehearsal) -> None:
    result = rehearsal.run([rehearsal.phase(TEARDOWN, give_back("remove", kept=["/etc/exports.d/mine.exports"]))])
    assert result.kept == {"one": ["/etc/exports.d/mine.exports"], "two": ["/etc/exports.d/mine.exports"]}


def test_an_interrupt_ends_the_run_and_says_how_to_go_on(rehearsal: Rehearsal, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    waiting = {"name": "Wait", "ansible.builtin.command": {"argv": ["sh", "-c", f"echo x > {fifo}; exec sleep 1000"]}}

    def interrupt() -> None:
        fifo.read_text(encoding="ascii")  # blocks until the task has begun
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = rehearsal.run(
        [rehearsal.phase(STORAGE, waiting), rehearsal.phase(SERVICES, touch(tmp_path / "second"))], limit="one"
    )
    thread.join()
    assert result.code is ExitCode.INTERRUPTED
    assert "Stopped in storage" in result.message
    assert AGAIN in result.message
    assert not (tmp_path / "second").exists()
    assert rehearsal.recorded("outcome.json")["exit_code"] == 130
