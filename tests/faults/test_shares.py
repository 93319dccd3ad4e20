"""Shares that are not what they should be: `verify` names the host, the share and what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import Takeover
from tests.support.lab.driver import checks, driver_json
from tests.support.lab.machines import Machine, share_taken_away


def failed_shares() -> dict[tuple[str, str], str]:
    """Host and share of each failed storage check, with what to do."""
    code, report = driver_json("verify")
    assert code == 1, report
    failed = {
        (check["host"], check["share"]): check["todo"]
        for check in checks(report)
        if not check["ok"] and check["check"].startswith("storage.")
    }
    assert all(failed.values())
    return failed


@pytest.fixture
def worker(takeover: Takeover) -> Iterator[Machine]:
    """A worker whose projects are taken away, and given back afterwards."""
    machine = takeover.machines["worker1"]
    with share_taken_away(machine, "projects"):
        yield machine


def test_a_share_stopped_and_masked(worker: Machine) -> None:
    failed = failed_shares()
    assert (worker.name, "projects") in failed
    assert {share for host, share in failed if host == worker.name} == {"projects"}


def test_another_export_mounted_in_its_place(worker: Machine, takeover: Takeover) -> None:
    server = takeover.machines["server"].address
    worker.output_of(f"mount -t nfs4 -o vers=4.2 {server}:/mnt/noslop/media_cache /mnt/noslop/projects", root=True)
    failed = failed_shares()
    assert (worker.name, "projects") in failed
    assert {share for host, share in failed if host == worker.name} == {"projects"}


def test_the_marker_is_gone(takeover: Takeover) -> None:
    server = takeover.machines["server"]
    marker = "/mnt/noslop/media_cache/.noslop-share"
    server.output_of(f"mv {marker} /root/marker", root=True)
    try:
        assert {host for host, share in failed_shares() if share == "media_cache"} == {"server", "worker1", "worker2"}
    finally:
        server.output_of(f"mv /root/marker {marker}", root=True)
