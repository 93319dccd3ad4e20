# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test doctor with a real ansible-playbook, on hosts that are this computer and return what was planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import driver_cli
from tests.support.doctor_cases import DEPLOY, Planted, make_check, make_healthy
from tests.support.doctor_faults import FAULTS, OLLAMA, STOPPED, unit
from tests.support.doctor_studio import DoctorStudio

pytestmark = pytest.mark.slow


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DoctorStudio:
    return DoctorStudio(tmp_path, monkeypatch)


def with_faults(*names: str) -> Planted:
    evidence = make_healthy()
    for name in names:
        FAULTS[name].plant(evidence)
    return evidence


def test_healthy_studio_has_no_cause_and_the_code_for_success(studio: DoctorStudio) -> None:
    output, done = driver_cli.run_json("doctor", "--inventory", str(studio.path))
    assert (done.returncode, output["causes"], output["not_examined"], output["fixes"]) == (0, [], {}, [])


def test_cause_is_printed_with_what_shows_it_and_what_mends_it(studio: DoctorStudio) -> None:
    studio.plant(with_faults("stopped service", "disabled NFS server"), [STOPPED])
    output, done = driver_cli.run_json("doctor", "--inventory", str(studio.path))

    assert done.returncode == 1
    first, later = output["causes"]
    assert (first["kind"], first["host"], first["urgent"]) == ("unit.stopped", "worker1", True)
    assert first["consequences"] == [
        {"host": "worker1", "check": "services.ollama_unit", "share": "", "observed": "it is wrong"}
    ]
    assert (later["kind"], later["urgent"], later["consequences"]) == ("unit.disabled", False, [])
    assert f"1. worker1: {OLLAMA} is stopped" in done.stderr
    assert "leads to: services.ollama_unit on worker1" in done.stderr
    assert f"→ systemctl start {OLLAMA}" in done.stderr
    assert "risk: restarts a service. --fix does it." in done.stderr
    assert "Nothing suffers from these yet:" in done.stderr
    assert "1 fault (worker1)" in output["error"]
    record = Path(output["record"])
    assert json.loads((record / "doctor.json").read_text("utf-8"))["causes"] == output["causes"]
    assert set(json.loads((record / "evidence.json").read_text("utf-8"))) == {"server", "worker1", "worker2"}


def test_what_nothing_suffers_from_yet_is_no_failure(studio: DoctorStudio) -> None:
    studio.plant(with_faults("disabled NFS server"))
    output, done = driver_cli.run_json("doctor", "--inventory", str(studio.path))
    assert (done.returncode, [cause["kind"] for cause in output["causes"]]) == (0, ["unit.disabled"])


def test_host_that_is_off_is_one_cause_and_has_the_code_for_it(studio: DoctorStudio) -> None:
    evidence = make_healthy()
    del evidence["worker2"]
    studio.plant(evidence, [make_check("worker2", "host.reachable", "Connection timed out")])
    output, done = driver_cli.run_json("doctor", "--inventory", str(studio.path))

    assert done.returncode == 4
    assert [cause["kind"] for cause in output["causes"]] == ["host.unreachable"]
    assert output["not_examined"] == {"worker2": "it returned no evidence"}


def test_host_that_returns_something_else_is_named_and_the_others_are_examined(studio: DoctorStudio) -> None:
    evidence = with_faults("disabled NFS server")
    evidence["worker2"] = {"units": "\x1b[31mnone"}
    studio.plant(evidence)
    output, done = driver_cli.run_json("doctor", "--inventory", str(studio.path))

    assert "it returned something else than evidence (units" in output["not_examined"]["worker2"]
    assert [cause["kind"] for cause in output["causes"]] == ["unit.disabled"]
    assert "\x1b[31mnone" not in (Path(output["record"]) / "evidence.json").read_text("utf-8")
    assert done.returncode == 0


def test_fix_mends_what_is_safe_verifies_again_and_records_both(studio: DoctorStudio) -> None:
    studio.plant(with_faults("stopped service", "disabled NFS server", "too few threads"), [STOPPED])
    studio.plant(make_healthy(), mended=True)
    output, done = driver_cli.run_json("doctor", "--fix", "--inventory", str(studio.path))

    assert (done.returncode, output["causes"]) == (0, [])
    assert [(entry["kind"], entry["mended"]) for entry in output["fixes"]] == [
        ("unit.stopped", True),
        ("unit.disabled", True),
    ]
    assert json.loads(studio.steps.read_text("utf-8")) == {
        "worker1": [{"unit": OLLAMA, "state": "started"}],
        "server": [{"unit": "nfs-server.service", "state": "enabled"}],
    }
    assert f"mended: worker1: {OLLAMA} is stopped" in done.stderr
    assert [outcome["command"] for outcome in studio.read_records()] == ["doctor", "doctor --fix", "doctor"]


def test_fix_leaves_what_needs_a_question_where_there_is_no_terminal(studio: DoctorStudio) -> None:
    failed = FAULTS["too few threads"].failed
    studio.plant(with_faults("too few threads"), failed)
    output, done = driver_cli.run_json("doctor", "--fix", "--inventory", str(studio.path))

    assert (done.returncode, output["fixes"]) == (1, [])
    assert [cause["kind"] for cause in output["refused"]] == ["server.threads"]
    assert "Left as they are, since there is no terminal to ask on" in done.stderr
    assert not studio.steps.exists()


@pytest.mark.long
def test_fix_with_yes_does_what_needs_a_question_and_says_what_stays(studio: DoctorStudio) -> None:
    failed = FAULTS["too few threads"].failed
    studio.plant(with_faults("too few threads"), failed)
    studio.plant(with_faults("too few threads"), failed, mended=True)
    output, done = driver_cli.run_json("doctor", "--fix", "--yes", "--inventory", str(studio.path))

    assert done.returncode == 1
    assert [(entry["kind"], entry["mended"]) for entry in output["fixes"]] == [("server.threads", False)]
    assert "stays: the NFS server of server has too few threads" in done.stderr


def test_fix_never_touches_data(studio: DoctorStudio) -> None:
    names = ("full file system", "directories of root below the top", "drop-in that changes where models lie")
    failed = [check for name in names for check in FAULTS[name].failed]
    studio.plant(with_faults(*names), failed)
    output, _done = driver_cli.run_json("doctor", "--fix", "--yes", "--inventory", str(studio.path))

    assert {cause["risk"] for cause in output["causes"]} == {"changes data"}
    assert (output["fixes"], output["refused"]) == ([], [])
    assert not studio.steps.exists()


@pytest.mark.long
def test_service_that_fails_otherwise_after_the_repair_is_not_mended(studio: DoctorStudio) -> None:
    studio.plant(with_faults("stopped service"), [STOPPED])
    evidence = make_healthy()
    unit("worker1", OLLAMA, active="failed", result="exit-code")(evidence)
    studio.plant(evidence, [STOPPED], mended=True)
    output, _done = driver_cli.run_json("doctor", "--fix", "--inventory", str(studio.path))

    assert [entry["mended"] for entry in output["fixes"]] == [False]
    assert [cause["kind"] for cause in output["causes"]] == ["unit.failed"]


def test_advice_to_deploy_names_the_studio(studio: DoctorStudio) -> None:
    studio.plant(with_faults("removed unit"), [STOPPED])
    output, _done = driver_cli.run_json("doctor", "--inventory", str(studio.path))
    command = output["causes"][0]["command"]
    assert command == f"{DEPLOY.replace('inventories/x', str(studio.path))} --limit worker1"
