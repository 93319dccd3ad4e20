# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that verification and teardown end while the storage server has no power, and leave nothing on the workers.

After the test of the takeover, which is undone here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import Takeover
from tests.faults.test_restarts import UP_WITHIN_S, wait_until_verified
from tests.support.lab.driver import read_checks, run_driver_json, run_playbook
from tests.support.lab.host_state import find_remains
from tests.support.lab.machines import Machine
from tests.support.lab.power import switch_power, wait_until_up

WORKERS = ("worker1", "worker2")
SHARES = ("ollama_models", "comfyui_models", "comfyui_custom_nodes", "projects", "media_cache")


@pytest.fixture
def workers(takeover: Takeover) -> Iterator[list[Machine]]:
    """Cut the server's power while the workers use its shares. Deploy the studio again after the test."""
    machines = [takeover.machines[name] for name in WORKERS]
    for worker in machines:
        # A program of a person, which waits for the server for ever.
        worker.check_output(
            "systemd-run --quiet --collect --unit=noslop-reader bash -c"
            " 'cd /mnt/noslop/projects; while :; do ls >/dev/null; echo > waits; rm -f waits; done'",
            root=True,
        )
    switch_power("server", "off")
    try:
        yield machines
    finally:
        switch_power("server", "on")
        wait_until_up(takeover.machines["server"], timeout_s=UP_WITHIN_S)
        for worker in machines:
            worker.sudo("systemctl stop noslop-reader")
        code, result = run_driver_json("deploy", "--yes", timeout_s=3600)
        assert code == 0, result
        wait_until_verified()


def test_verification_ends_and_names_the_server_and_each_share(takeover: Takeover, workers: list[Machine]) -> None:
    code, report = run_driver_json("verify")

    assert code != 0
    failed = {
        (check["host"], check["check"], check["share"]): check for check in read_checks(report) if not check["ok"]
    }
    assert failed["server", "host.reachable", ""]["seen"]
    for worker in workers:
        server = failed[worker.name, "storage.server", ""]
        assert server["seen"].startswith(f"{takeover.machines['server'].address}:2049: ")
        assert "systemctl status nfs-server" in server["todo"]
        named = {share for host, check, share in failed if (host, check) == (worker.name, "storage.mounted")}
        assert named == set(SHARES)


def test_teardown_ends_names_the_server_and_leaves_nothing_on_the_workers(
    takeover: Takeover, workers: list[Machine]
) -> None:
    done = run_playbook("teardown")

    assert done.returncode != 0, "the server was not torn down"
    assert "fatal: [server]: UNREACHABLE!" in done.stdout, done.stdout + done.stderr
    for worker in workers:
        assert f"fatal: [{worker.name}]: FAILED!" not in done.stdout, done.stdout
        worker.sudo("systemctl stop noslop-reader; systemctl reset-failed noslop-reader 2>/dev/null")
        assert find_remains(worker, takeover.bare[worker.name]) == []
