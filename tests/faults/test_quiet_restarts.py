# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a server which stops and starts twenty times in a row leaves no dead automount, and no hung share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import Takeover
from tests.faults.test_restarts import UP_WITHIN_S, wait_until_verified
from tests.support.lab.machines import Machine, wait_for

ROUNDS = 20
#: No program of the studio keeps these open on a worker, so that they can be unmounted in each round.
SHARES = ("/mnt/noslop/projects", "/mnt/noslop/media_cache")
MOUNTS = ("mnt-noslop-projects.mount", "mnt-noslop-media_cache.mount")
UNIT, COUNT = "noslop-looker.service", "/run/noslop-looks"
#: Asks the shares for their markers: each look mounts what is not mounted, and waits while the server is away.
LOOK = f"""
count=0
while :; do
    for share in {" ".join(SHARES)}; do timeout --signal=KILL 3 stat $share/.noslop-share >/dev/null 2>&1; done
    count=$((count + 1)); echo $count > {COUNT}
done
"""
WORKERS = ("worker1", "worker2")


def count_looks(worker: Machine) -> int:
    """Return how often a worker has looked at the shares."""
    return int(worker.check_output(f"cat {COUNT} 2>/dev/null || echo 0").strip() or 0)


def wait_for_looks(worker: Machine) -> None:
    """Wait until a look began and ended from now on."""
    wanted = count_looks(worker) + 2
    wait_for(f"{worker.name} to look again", lambda: count_looks(worker) >= wanted, timeout_s=UP_WITHIN_S)


def wait_for_share(worker: Machine, share: str) -> None:
    """Wait until a worker can read the marker of a share."""
    read = f"timeout --signal=KILL 20 cat {share}/.noslop-share"
    wait_for(f"{share} on {worker.name}", lambda: worker.sudo(read).returncode == 0, timeout_s=UP_WITHIN_S)


@pytest.fixture
def workers(takeover: Takeover) -> Iterator[list[Machine]]:
    """Let programs on the workers look at shares, and stop them after the test."""
    machines = [takeover.machines[name] for name in WORKERS]
    for worker in machines:
        worker.run("cat > /tmp/look", stdin=LOOK)
        worker.check_output(f"systemd-run --quiet --collect --unit={UNIT} bash /tmp/look", root=True)
    try:
        yield machines
    finally:
        takeover.machines["server"].check_output("systemctl start nfs-server", root=True)
        for worker in machines:
            worker.check_output(f"systemctl stop {UNIT}; rm -f {COUNT} /tmp/look", root=True)


def test_twenty_stops_and_starts_leave_every_automount_alive(takeover: Takeover, workers: list[Machine]) -> None:
    server = takeover.machines["server"]
    for _ in range(ROUNDS):
        for worker in workers:
            # A share in use stays mounted; the next look mounts the others while the server is away. No umount: where
            # nothing is mounted yet, it would unmount the automount itself.
            worker.check_output(f"systemctl stop {' '.join(MOUNTS)} || true", root=True)
        server.check_output("systemctl stop nfs-server", root=True)
        for worker in workers:
            wait_for_looks(worker)
        server.check_output("systemctl start nfs-server", root=True, timeout_s=UP_WITHIN_S)
    for worker in workers:
        for share in SHARES:
            wait_for_share(worker, share)
        units = worker.check_output("systemctl list-units --all --plain --no-legend 'mnt-noslop-*'", root=True)
        states = {line.split()[0]: line.split()[2] for line in units.splitlines()}
        assert [name for name, state in states.items() if name.endswith(".automount") and state != "active"] == []
        assert "failed" not in states.values(), units
    wait_until_verified()
