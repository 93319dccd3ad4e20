# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a worker whose address changed: verification names it, and a deployment replaces the old address everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml

from tests.faults.conftest import Takeover
from tests.faults.test_restarts import UP_WITHIN_S, wait_until_verified
from tests.support.lab.driver import INVENTORY, read_checks, run_driver_json, run_playbook
from tests.support.lab.machines import CONTROLLER, Machine, wait_for
from tests.support.lab.power import switch_power, wait_until_up

NAME, NEW = "worker2", "10.77.42.23"
HOST_VARS = INVENTORY / "host_vars" / NAME / "moved.yml"
KNOWN_HOSTS = INVENTORY / ".noslop" / "known_hosts"
#: As a DHCP client does. The default route goes with the old address.
MOVE = (
    "systemd-run --quiet --collect bash -c 'sleep 1; ip address add {new}/24 dev eth0;"
    " ip address del {old}/24 dev eth0;"
    f" ip route replace default via {CONTROLLER}'"
)


def write_host_vars(**variables: str) -> None:
    """Write what the inventory says of the worker beside its own line."""
    HOST_VARS.parent.mkdir(parents=True, exist_ok=True)
    HOST_VARS.write_text(yaml.safe_dump(variables), encoding="utf-8")


def find_addresses(takeover: Takeover, worker: Machine) -> dict[str, str]:
    """Return, by place, the text in which the studio names the addresses of its members."""
    server, other = takeover.machines["server"], takeover.machines["worker1"]
    return {
        "exports": server.check_output("exportfs -s", root=True),
        "file of exports": server.check_output("cat /etc/exports.d/noslop.exports", root=True),
        **{
            f"firewall of {host.name}": host.check_output("nft list table inet noslop_studio", root=True)
            for host in (server, other, worker)
        },
        "backend": server.check_output("cat /etc/noslop/backend.env", root=True),
    }


@pytest.fixture
def moved(takeover: Takeover) -> Iterator[Machine]:
    """Change the address of the worker, which only SSH knows. It gets the old one back after the test."""
    old = takeover.machines[NAME]
    known_hosts = KNOWN_HOSTS.read_text(encoding="utf-8")
    new = replace(old, address=NEW)
    old.check_output(MOVE.format(old=old.address, new=NEW), root=True)
    try:
        wait_for(f"{NAME} at {NEW}", lambda: new.run("true").returncode == 0, timeout_s=UP_WITHIN_S)
        same_key = [line.replace(old.address, NEW) for line in known_hosts.splitlines() if old.address in line]
        KNOWN_HOSTS.write_text(known_hosts + "".join(f"{line}\n" for line in same_key), encoding="utf-8")
        write_host_vars(ansible_host=NEW, noslop_address=old.address)
        yield new
    finally:
        HOST_VARS.unlink(missing_ok=True)
        KNOWN_HOSTS.write_text(known_hosts, encoding="utf-8")
        switch_power(NAME, "reboot")
        wait_until_up(old, timeout_s=UP_WITHIN_S)
        done = run_playbook("site", timeout_s=3600)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until_verified()


def test_worker_with_another_address_is_named_and_a_deployment_replaces_the_old_one(
    takeover: Takeover, moved: Machine
) -> None:
    old = takeover.machines[NAME].address
    code, report = run_driver_json("verify")
    assert code != 0
    failed = {(check["host"], check["check"]): check for check in read_checks(report) if not check["ok"]}
    address = failed[NAME, "storage.address"]
    assert address["seen"].startswith(f"packets to the storage server come from {NEW}, which it refuses")
    assert old in address["seen"]
    assert f"to {NEW} in the inventory" in address["todo"]
    assert (NAME, "storage.server") in failed, "the server's firewall drops what comes from no member"
    assert ("worker1", "storage.address") not in failed

    write_host_vars(ansible_host=NEW)
    done = run_playbook("site", timeout_s=3600)

    assert done.returncode == 0, done.stdout + done.stderr
    for place, text in find_addresses(takeover, moved).items():
        assert place == "backend" or NEW in text, f"{place} does not name the new address:\n{text}"
        assert not re.search(rf"{re.escape(old)}(?!\d)", text), f"{place} still names the old address:\n{text}"
    moved.check_output("timeout --signal=KILL 60 cat /mnt/noslop/projects/.noslop-share", root=True)
    wait_until_verified()
