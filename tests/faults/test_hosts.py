# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a worker that is off, that is removed while it is off, and that comes back; and one that is drained."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.faults.conftest import Takeover
from tests.faults.test_restarts import UP_WITHIN_S
from tests.support.lab.driver import INVENTORY, PrintedRun, read_checks, run_driver_json
from tests.support.lab.machines import LAB, NETWORK, Machine
from tests.support.lab.power import switch_power, wait_until_up

ABSENT = "worker2"
NEW_HOST = (
    *("--user", "artist", "--ssh-key", str(LAB / "id_ed25519")),
    *("--host-keys", str(LAB / "machines/known_hosts"), "--yes"),
)


@pytest.fixture
def absent(takeover: Takeover) -> Iterator[Machine]:
    """Switch a worker off; it is on again after the test."""
    machine = takeover.machines[ABSENT]
    switch_power(ABSENT, "off")
    yield machine
    switch_power(ABSENT, "on")
    wait_until_up(machine, timeout_s=UP_WITHIN_S)


def list_hosts_of_phases(result: PrintedRun) -> dict[str, set[str]]:
    """Return the hosts on which each phase ran."""
    return {phase["phase"]: set(phase["hosts"]) for phase in result["phases"]}


def list_failed(result: PrintedRun) -> set[tuple[str, str]]:
    """Return host and name of each check that failed."""
    return {(check["host"], check["check"]) for check in read_checks(result) if not check["ok"]}


def is_open(machine: Machine, address: str, port: int) -> bool:
    """Return whether a machine can connect to a port of another one."""
    return machine.run(f"timeout 5 bash -c '</dev/tcp/{address}/{port}'").returncode == 0


def test_others_complete_while_a_worker_is_off_and_one_command_continues(absent: Machine) -> None:
    code, result = run_driver_json("deploy", "--yes")
    assert code == 4, result
    assert result["left_out"].keys() == {ABSENT}
    hosts = list_hosts_of_phases(result)
    assert list(hosts) == ["preflight", "storage", "configure", "services", "verify"]
    assert all(ABSENT not in names for phase, names in hosts.items() if phase != "verify")
    assert list_failed(result) == {(ABSENT, "host.reachable")}
    assert result["error"] is not None
    assert f"Left out: {ABSENT}" in result["error"]
    assert f"noslop-driver deploy --inventory {shlex.quote(str(INVENTORY))}" in result["error"]

    code, verified = run_driver_json("verify")
    assert code == 4, verified
    assert verified["left_out"].keys() == {ABSENT}

    switch_power(ABSENT, "on")
    wait_until_up(absent, timeout_s=UP_WITHIN_S)
    code, result = run_driver_json("deploy", "--yes")
    assert code == 0, result
    assert result["left_out"] == {}


def test_removed_worker_is_refused_until_it_is_added_again(takeover: Takeover, absent: Machine) -> None:
    server = takeover.machines["server"]
    code, kept = run_driver_json("host", "remove", ABSENT, "--yes")
    assert (code, "does not answer" in str(kept["error"])) == (2, True), "--yes removes no machine that is away"
    code, removed = run_driver_json("host", "remove", ABSENT, "--dead", "--yes")
    assert code == 0, removed
    assert set(list_hosts_of_phases(removed)["members"]) == {"server", "worker1"}
    assert absent.address not in server.check_output("exportfs -v; nft list ruleset", root=True)
    assert absent.address not in takeover.machines["worker1"].check_output("nft list ruleset", root=True)
    assert absent.address not in (INVENTORY / ".noslop/known_hosts").read_text()

    code, result = run_driver_json("deploy", "--yes")
    assert code == 0, result
    assert result["left_out"] == {}
    assert all(ABSENT not in names for names in list_hosts_of_phases(result).values())

    switch_power(ABSENT, "on")
    wait_until_up(absent, timeout_s=UP_WITHIN_S)
    assert not is_open(absent, server.address, 2049)
    assert not is_open(absent, server.address, 8765)
    for words in (["deploy", "--host", absent.address], ["host", "add", absent.address]):
        code, refused = run_driver_json(*words, *NEW_HOST)
        assert code == 3, refused
        assert "removed_machine" in str(refused.get("plan"))
    code, searched = run_driver_json("deploy", "--network", NETWORK, *NEW_HOST)
    assert code == 0, searched
    assert "removed_machine" in str(searched.get("plan"))
    assert all(ABSENT not in names for names in list_hosts_of_phases(searched).values())

    code, added = run_driver_json("host", "add", "--again", ABSENT, *NEW_HOST)
    assert code == 0, added
    hosts = list_hosts_of_phases(added)
    assert hosts["storage"] == hosts["services"] == {ABSENT}
    assert hosts["members"] == {"server", "worker1"}
    assert list_failed(added) == set()
    assert is_open(absent, server.address, 2049)
    code, again = run_driver_json("deploy", "--yes", "--full")
    assert code == 0, again
    assert sum(phase["changed"] for phase in again["phases"]) == 0


def test_live_worker_is_removed_with_what_was_installed(takeover: Takeover) -> None:
    worker = takeover.machines[ABSENT]
    code, removed = run_driver_json("host", "remove", ABSENT, "--yes")
    assert code == 0, removed
    assert list(list_hosts_of_phases(removed)) == ["teardown", "members", "references", "verify"]
    left = worker.check_output("systemctl list-unit-files 'noslop-*' 'mnt-noslop-*' --no-legend; true", root=True)
    assert "noslop-comfyui" not in left
    assert "mnt-noslop" not in left
    code, added = run_driver_json("host", "add", "--again", worker.address, *NEW_HOST)
    assert code == 0, added


def test_drained_worker_has_no_service_until_it_is_undone(takeover: Takeover) -> None:
    worker = takeover.machines[ABSENT]
    state = "systemctl is-active noslop-comfyui.service noslop-ollama.service; true"
    code, drained = run_driver_json("host", "drain", ABSENT, "--yes", "--timeout", "120")
    assert code == 0, drained
    assert worker.check_output(state).split() == ["inactive", "inactive"]
    code, undone = run_driver_json("host", "drain", ABSENT, "--undo")
    assert code == 0, undone
    assert worker.check_output(state).split() == ["active", "active"]
