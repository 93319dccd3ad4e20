"""Test that hosts notice by themselves, within a minute, what goes wrong with their part of the studio."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.conftest import Takeover
from tests.faults.test_restarts import UP_WITHIN_S
from tests.support.lab.driver import OWN_VARIABLES, read_checks, run_driver_json, run_playbook
from tests.support.lab.machines import Machine, unmounted_share, wait_for
from tests.support.lab.power import switch_power

NOTICED_WITHIN_S = 60.0
PROJECTS = "/mnt/noslop/projects"


@pytest.fixture(scope="module", autouse=True)
def _monitor(takeover: Takeover) -> Iterator[None]:
    """Let every host of the studio check itself, until the next deployment after these tests."""
    OWN_VARIABLES.write_text("---\nnoslop_monitor_enabled: true\n")
    try:
        code, result = run_driver_json("deploy", "--yes")
        assert code == 0, result
        yield
    finally:
        OWN_VARIABLES.unlink()


def list_bad(machine: Machine) -> set[tuple[str, str]]:
    """Return check and share of what a host reports as bad by itself."""
    status: dict[str, Any] = json.loads(machine.check_output("cat /var/lib/noslop/check/status.json", root=True))
    return {(entry["check"], entry["share"]) for entry in status["checks"] if not entry["ok"]}


def wait_until_bad(machine: Machine, check: str, share: str = "") -> None:
    """Wait until a host reports a check as bad."""
    wait_for(
        f"{machine.name} to notice {check} {share}",
        lambda: (check, share) in list_bad(machine),
        timeout_s=NOTICED_WITHIN_S,
    )


def wait_until_good(machine: Machine, timeout_s: float = NOTICED_WITHIN_S) -> None:
    """Wait until a host reports nothing as bad."""
    wait_for(f"{machine.name} to be good", lambda: not list_bad(machine), timeout_s=timeout_s)


def wait_for_another_run(machine: Machine) -> None:
    """Wait until the timer has run the checks again."""
    changed = "stat -c %Y /var/lib/noslop/check/status.json"
    before = machine.check_output(changed, root=True)
    wait_for("another run", lambda: machine.check_output(changed, root=True) != before, timeout_s=2 * NOTICED_WITHIN_S)


@contextmanager
def broken(machine: Machine, change: str, undo: str) -> Iterator[None]:
    """Run a command as root, and after the block another one."""
    machine.check_output(change, root=True)
    try:
        yield
    finally:
        machine.check_output(undo, root=True)


def test_worker_notices_that_the_server_is_off_and_gathers_no_processes(takeover: Takeover) -> None:
    worker = takeover.machines["worker1"]
    wait_until_good(worker, UP_WITHIN_S)
    switch_power("server", "off")
    try:
        wait_until_bad(worker, "storage.server")
        wait_until_bad(worker, "storage.mounted", "projects")
        for _ in range(3):
            wait_for_another_run(worker)
        waiting = worker.check_output("ps -eo stat,args | grep -c '^D.*[/]opt/noslop/check' || true")
        assert int(waiting) <= 5, "one for each share at most"
    finally:
        switch_power("server", "on")
    wait_until_good(worker, UP_WITHIN_S)


@pytest.mark.parametrize("options", ["ro", "rw"])
def test_worker_notices_a_share_that_is_read_only_or_another_one(takeover: Takeover, options: str) -> None:
    worker, server = takeover.machines["worker1"], takeover.machines["server"].address
    wait_until_good(worker, UP_WITHIN_S)
    source, check = (PROJECTS, "storage.written") if options == "ro" else ("/mnt/noslop/media_cache", "storage.mounted")
    with unmounted_share(worker, "projects"):
        worker.check_output(f"mount -t nfs4 -o vers=4.2,{options} {server}:{source} {PROJECTS}", root=True)
        wait_until_bad(worker, check, "projects")
    wait_until_good(worker)


def test_drift_by_hand_is_noticed_by_the_timer_and_by_verify_and_mended_by_a_deployment(takeover: Takeover) -> None:
    server, worker = takeover.machines["server"], takeover.machines["worker2"]
    for machine in (server, worker):
        wait_until_good(machine, UP_WITHIN_S)
    unit = worker.check_output(f"systemd-escape -p --suffix=mount {PROJECTS}").strip()
    server.check_output(f"exportfs -o rw,no_root_squash '*:{PROJECTS}'", root=True)
    server.check_output("nft insert rule inet noslop_studio input tcp dport 9999 counter", root=True)
    worker.check_output(f"echo TimeoutSec=1s >> $(systemctl show -P FragmentPath {unit})", root=True)

    wait_until_bad(server, "server.exports", "projects")
    wait_until_bad(server, "firewall.table")
    wait_until_bad(worker, "host.files")
    _, report = run_driver_json("verify")
    failed = {(check["host"], check["check"]) for check in read_checks(report) if not check["ok"]}
    assert failed >= {("server", "server.exports"), ("server", "firewall.table"), ("worker2", "host.files")}

    deployed = run_playbook("storage")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    for machine in (server, worker):
        wait_until_good(machine)


def test_server_notices_a_line_that_exports_a_share_to_the_world(takeover: Takeover) -> None:
    server = takeover.machines["server"]
    wait_until_good(server, UP_WITHIN_S)
    line = f"{PROJECTS} *(rw,no_root_squash,no_subtree_check)"
    with broken(server, f"echo '{line}' > /etc/exports.d/world.exports", "rm /etc/exports.d/world.exports"):
        wait_until_bad(server, "server.exports_files")
    wait_until_good(server)


def test_host_whose_timer_is_stopped_fails_its_verification(takeover: Takeover) -> None:
    worker = takeover.machines["worker1"]
    stop = "systemctl stop noslop-check.timer noslop-check.service"
    # As if it had been stopped for an hour.
    age = 'sed -i -E \'s/"finished": [0-9.]+/"finished": 1/\' /var/lib/noslop/check/status.json'
    with broken(worker, f"{stop}; {age}", "systemctl start noslop-check.timer"):
        _, report = run_driver_json("verify")
        failed = [(check["host"], check["check"]) for check in read_checks(report) if not check["ok"]]
        assert failed == [(worker.name, "host.monitor")]
    wait_until_good(worker)
