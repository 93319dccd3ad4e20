# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noslop_driver.errors import ExitCode
from noslop_driver.inventory.directory import Member
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import (
    CONFIGURE,
    NODES,
    PREFLIGHT,
    SERVICES,
    STORAGE,
    TEARDOWN,
    VERIFY,
    Phase,
    PhaseRunner,
    RunResult,
)
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
RETRY_COMMAND = "noslop-driver deploy --inventory inventories/x"


def touch(path: Path) -> dict[str, object]:
    return {"name": f"make | {path.name}", "ansible.builtin.file": {"path": str(path), "state": "directory"}}


def return_result(name: str, **result: object) -> dict[str, object]:
    return {"name": name, "return_result": {"result": result}}


def return_report(report: dict[str, object]) -> dict[str, object]:
    return return_result("report | Report checks", noslop_report=report)


def fail(message: str = "no room") -> dict[str, object]:
    return {"name": "check | Fail", "ansible.builtin.fail": {"msg": message}}


class FakeDeployment:
    """Phases with the names of the real ones, and playbooks of one or two tasks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.inventory = local_inventory(directory / "inventory", ["one", "two"])
        self.record: Record | None = None
        self.released = directory / "released"

    def phase(self, real: Phase, *tasks: dict[str, Any]) -> Phase:
        return replace(real, playbook=str(write_playbook(self.directory / real.name, *tasks)))

    def run(
        self,
        phases: Sequence[Phase],
        *,
        check: bool = False,
        limit: str | None = None,
        away: Mapping[str, str] | None = None,
    ) -> RunResult:
        member = Member("one", "10.0.0.1", 22, "artist", frozenset(), {})
        self.record = Record(self.directory / "records", "deploy", Secrets())
        runner = PhaseRunner(
            terminal=Terminal(no_input=True),
            inventory=self.inventory,
            members=[member],
            secrets=Secrets(),
            record=self.record,
            retry_command=RETRY_COMMAND,
            check=check,
            limit=limit,
            away=away or {},
            release_playbook=str(write_playbook(self.directory / "release", touch(self.released), hosts="one")),
        )
        result = runner.run(phases)
        self.record.finish(int(result.code), result.message, "test")
        return result

    def read_record(self, name: str) -> Any:  # noqa: ANN401 - any JSON
        assert self.record
        return json.loads((self.record.path / name).read_text(encoding="utf-8"))


@pytest.fixture
def deployment(tmp_path: Path) -> FakeDeployment:
    return FakeDeployment(tmp_path)


@pytest.mark.long
def test_phases_run_in_order_and_leave_a_record(deployment: FakeDeployment, tmp_path: Path) -> None:
    environment = base64.b64encode(b"NOSLOP_STUDIO_ID=abc\n").decode()
    report = {"version": 1, "ok": True, "checks": [{**CHECK, "host": "one"}, {**CHECK, "host": "two"}]}
    result = deployment.run(
        [
            deployment.phase(
                PREFLIGHT,
                return_report({"version": 1, "ok": True, "checks": [CHECK]}),
            ),
            deployment.phase(STORAGE, touch(tmp_path / "made")),
            deployment.phase(
                CONFIGURE, return_result("read | Read the environment file", source=NODE_ENV, content=environment)
            ),
            deployment.phase(VERIFY, {**return_report(report), "run_once": True}),
        ]
    )
    assert (result.code, result.message) == (ExitCode.OK, "")
    assert [(phase.phase, phase.status) for phase in result.phases] == [
        ("preflight", "ok"),
        ("storage", "ok"),
        ("configure", "ok"),
        ("verify", "ok"),
    ]
    assert result.phases[1].hosts["one"].changed + result.phases[1].hosts["two"].changed >= 1
    assert result.verification == report
    assert deployment.read_record("verification.json") == report
    assert deployment.record
    assert (deployment.record.path / "nodes/two.env").read_text(encoding="utf-8") == "NOSLOP_STUDIO_ID=abc\n"
    events = (deployment.record.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["phase"] for line in events] == sorted(
        (json.loads(line)["phase"] for line in events), key=["preflight", "storage", "configure", "verify"].index
    )
    assert deployment.read_record("outcome.json")["ok"] is True


def test_phase_with_tags_runs_their_tasks_only(deployment: FakeDeployment, tmp_path: Path) -> None:
    tasks = [{**touch(tmp_path / name), "tags": [name]} for name in ("nodes", "comfyui", "ollama")]
    assert deployment.run([deployment.phase(NODES, *tasks)]).code is ExitCode.OK
    assert [(tmp_path / name).exists() for name in ("nodes", "comfyui", "ollama")] == [True, True, False]


def test_failed_preflight_changes_nothing(deployment: FakeDeployment, tmp_path: Path) -> None:
    result = deployment.run([deployment.phase(PREFLIGHT, fail()), deployment.phase(STORAGE, touch(tmp_path / "made"))])
    assert result.code is ExitCode.PREFLIGHT
    assert not (tmp_path / "made").exists()
    assert not deployment.released.exists()
    for part in (
        "one (check | Fail)",
        "two (check | Fail)",
        "Not run: storage",
        "Nothing was changed",
        RETRY_COMMAND,
    ):
        assert part in result.message
    assert deployment.read_record("outcome.json")["exit_code"] == 3
    failures = deployment.read_record("outcome.json")["phases"][0]["failures"]
    assert sorted((failure["host"], failure["task"]) for failure in failures) == [
        ("one", "check | Fail"),
        ("two", "check | Fail"),
    ]


def test_failed_phase_stops_later_ones_and_can_be_run_again(deployment: FakeDeployment, tmp_path: Path) -> None:
    on_two = {**fail("the cable is out"), "when": "inventory_hostname == 'two' and not repaired | default(false)"}
    phases = [
        deployment.phase(STORAGE, touch(tmp_path / "first"), on_two),
        deployment.phase(SERVICES, touch(tmp_path / "second")),
    ]
    result = deployment.run(phases)
    assert result.code is ExitCode.FAILED
    assert deployment.released.exists()
    assert "two (check | Fail)" in result.message
    assert "one (" not in result.message
    assert "What is done stays done" in result.message
    assert not (tmp_path / "second").exists()

    local_inventory(deployment.inventory, ["one", "two"], repaired=True)
    again = deployment.run(phases)
    assert again.code is ExitCode.OK
    assert sum(host.changed for host in again.phases[0].hosts.values()) == 0
    assert (tmp_path / "second").exists()


def test_unreachable_host_has_its_own_exit_code(deployment: FakeDeployment) -> None:
    local_inventory(deployment.inventory, ["one"], ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    result = deployment.run([deployment.phase(STORAGE, return_result("look"))])
    assert result.code is ExitCode.UNREACHABLE
    assert "one (unreachable)" in result.message


def test_failed_checks_replace_the_failure_of_the_task_that_reports_them(
    deployment: FakeDeployment, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {**CHECK, "host": "two", "ok": False, "seen": "a directory", "todo": "mount it"}
    report = {"version": 1, "ok": False, "checks": [CHECK, bad]}
    result = deployment.run(
        [
            deployment.phase(
                VERIFY,
                {**return_report(report), "run_once": True},
                {**fail("1 of 2 checks failed"), "run_once": True},
            )
        ]
    )
    assert result.code is ExitCode.FAILED
    assert "1 check did not pass" in result.message
    assert result.verification == report
    assert result.phases[0].failures == []
    shown = capsys.readouterr().out
    assert "mount it" in shown
    assert "1 of 2 checks failed" not in shown


def test_failed_task_besides_failed_checks_is_reported(deployment: FakeDeployment) -> None:
    report = {"version": 1, "ok": False, "checks": [{**CHECK, "ok": False, "todo": "x"}]}
    broken = {**fail("broken"), "name": "verify | Fail", "when": "inventory_hostname == 'two'"}
    result = deployment.run([deployment.phase(VERIFY, broken, return_report(report))])
    assert "two (verify | Fail)" in result.message


def test_check_mode_changes_nothing_and_ignores_checks(deployment: FakeDeployment, tmp_path: Path) -> None:
    bare = {"version": 1, "ok": False, "checks": [{**CHECK, "ok": False, "todo": "deploy"}]}
    result = deployment.run(
        [deployment.phase(STORAGE, touch(tmp_path / "made"), return_report(bare))],
        check=True,
    )
    assert result.code is ExitCode.OK
    assert result.phases[0].changed == 2
    assert not (tmp_path / "made").exists()


def test_limit_is_passed_to_ansible(deployment: FakeDeployment) -> None:
    result = deployment.run([deployment.phase(STORAGE, return_result("look"))], limit="two")
    assert set(result.phases[0].hosts) == {"two"}


def test_missing_playbook_is_reported(deployment: FakeDeployment) -> None:
    result = deployment.run([replace(STORAGE, playbook="noslop.studio.no_such_playbook")])
    assert result.code is ExitCode.FAILED
    assert "no_such_playbook" in result.message


def test_kept_files_of_a_teardown_are_listed_by_host(deployment: FakeDeployment) -> None:
    result = deployment.run([deployment.phase(TEARDOWN, return_result("remove", kept=["/etc/exports.d/mine.exports"]))])
    assert result.kept == {"one": ["/etc/exports.d/mine.exports"], "two": ["/etc/exports.d/mine.exports"]}


@pytest.mark.long
def test_interrupt_ends_the_run_with_the_command_to_continue(deployment: FakeDeployment, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    waiting = {"name": "Wait", "ansible.builtin.command": {"argv": ["sh", "-c", f"echo x > {fifo}; exec sleep 1000"]}}

    def interrupt() -> None:
        fifo.read_text(encoding="ascii")  # blocks until the task has begun
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = deployment.run(
        [deployment.phase(STORAGE, waiting), deployment.phase(SERVICES, touch(tmp_path / "second"))], limit="one"
    )
    thread.join()
    assert result.code is ExitCode.INTERRUPTED
    assert "Stopped in storage" in result.message
    assert RETRY_COMMAND in result.message
    assert not (tmp_path / "second").exists()
    assert deployment.read_record("outcome.json")["exit_code"] == 130


def test_two_reports_of_a_phase_are_one(deployment: FakeDeployment) -> None:
    proven = {"version": 1, "ok": True, "checks": [{**CHECK, "check": "probe.content"}]}
    verified = {"version": 1, "ok": False, "checks": [{**CHECK, "ok": False, "todo": "mount it"}]}

    result = deployment.run(
        [
            deployment.phase(
                VERIFY, {**return_report(proven), "run_once": True}, {**return_report(verified), "run_once": True}
            )
        ]
    )

    assert result.verification is not None
    assert [check["check"] for check in result.verification["checks"]] == ["probe.content", "storage.mounted"]
    assert not result.verification["ok"]
    assert result.code is ExitCode.FAILED


def test_failure_after_a_good_report_is_shown(deployment: FakeDeployment) -> None:
    report = {"version": 1, "ok": True, "checks": [CHECK]}

    result = deployment.run([deployment.phase(STORAGE, {**return_report(report), "run_once": True}, fail("no marker"))])

    assert result.code is ExitCode.FAILED
    assert [failure.message for failure in result.phases[0].failures] == ["no marker", "no marker"]


AWAY = {"two": "two did not answer in time."}
UNREACHABLE = {**CHECK, "host": "two", "check": "host.reachable", "ok": False, "todo": "switch two on"}


def test_host_that_is_away_is_left_out_and_reported_by_the_verification(deployment: FakeDeployment) -> None:
    report = {"version": 1, "ok": False, "checks": [CHECK, UNREACHABLE]}
    result = deployment.run(
        [
            deployment.phase(STORAGE, return_result("look")),
            deployment.phase(VERIFY, {**return_report(report), "run_once": True}, {**fail(), "run_once": True}),
        ],
        away=AWAY,
    )
    assert (result.code, result.complete, result.left_out) == (ExitCode.UNREACHABLE, True, AWAY)
    assert set(result.phases[0].hosts) == {"one"}
    assert result.verification == report
    assert "Done on one. Left out: two. two did not answer in time." in result.message
    assert result.message.endswith(f"When it answers again, run {RETRY_COMMAND}")
    assert deployment.read_record("outcome.json")["exit_code"] == 4


@pytest.mark.long
def test_failure_on_another_host_is_no_success_without_the_one_that_is_away(deployment: FakeDeployment) -> None:
    bad = {**CHECK, "ok": False, "todo": "mount it"}
    report = {"version": 1, "ok": False, "checks": [bad, UNREACHABLE]}
    result = deployment.run([deployment.phase(VERIFY, {**return_report(report), "run_once": True})], away=AWAY)
    assert (result.code, result.complete) == (ExitCode.FAILED, False)
    assert "two did not answer, and nothing was done there" in result.message
    failed = deployment.run([deployment.phase(STORAGE, fail())], away=AWAY)
    assert failed.code is ExitCode.FAILED
    assert "one (check | Fail)" in failed.message


@pytest.mark.long
def test_phase_with_hosts_of_its_own_runs_on_those_that_are_not_away(deployment: FakeDeployment) -> None:
    local_inventory(deployment.inventory, ["one", "two", "three"])
    phase = replace(deployment.phase(STORAGE, return_result("look")), limit="one,two")
    assert set(deployment.run([phase]).phases[0].hosts) == {"one", "two"}
    assert set(deployment.run([phase], limit="three").phases[0].hosts) == {"one", "two"}
    assert set(deployment.run([phase], away=AWAY).phases[0].hosts) == {"one"}
