"""Test that `verify` names the host, the share and what to do when a share is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import Takeover
from tests.support.lab.driver import read_checks, run_driver_json
from tests.support.lab.machines import Machine, unmounted_share


def list_failed_shares() -> dict[tuple[str, str], str]:
    """Run `verify`. Return what to do for each failed storage check, by host and share."""
    code, report = run_driver_json("verify")
    assert code == 1, report
    failed = {
        (check["host"], check["share"]): check["todo"]
        for check in read_checks(report)
        if not check["ok"] and check["check"].startswith("storage.")
    }
    assert all(failed.values())
    return failed


@pytest.fixture
def worker(takeover: Takeover) -> Iterator[Machine]:
    """Unmount the projects on a worker, and mount them again after the test."""
    machine = takeover.machines["worker1"]
    with unmounted_share(machine, "projects"):
        yield machine


def test_verify_names_a_share_that_is_not_mounted(worker: Machine) -> None:
    failed = list_failed_shares()
    assert (worker.name, "projects") in failed
    assert {share for host, share in failed if host == worker.name} == {"projects"}


def test_verify_names_a_share_that_another_export_replaces(worker: Machine, takeover: Takeover) -> None:
    server = takeover.machines["server"].address
    worker.check_output(f"mount -t nfs4 -o vers=4.2 {server}:/mnt/noslop/media_cache /mnt/noslop/projects", root=True)
    failed = list_failed_shares()
    assert (worker.name, "projects") in failed
    assert {share for host, share in failed if host == worker.name} == {"projects"}


def test_verify_names_a_share_without_its_marker_on_every_host(takeover: Takeover) -> None:
    server = takeover.machines["server"]
    marker = "/mnt/noslop/media_cache/.noslop-share"
    server.check_output(f"mv {marker} /root/marker", root=True)
    try:
        assert {host for host, share in list_failed_shares() if share == "media_cache"} == {
            "server",
            "worker1",
            "worker2",
        }
    finally:
        server.check_output(f"mv /root/marker {marker}", root=True)
