# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that events of noslop.studio.facts become hosts and problems: with given messages, and in a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noslop_driver.ansible.events import Event
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.hosts import discovery, facts
from noslop_driver.models import Candidate, Disk, Endpoint, Gpu
from tests.unit.conftest import StartSshd

SETUP = {
    "ansible_hostname": "Render1",
    "ansible_distribution": "Debian",
    "ansible_distribution_version": "12.5",
    "ansible_kernel": "6.1.0-18-amd64",
    "ansible_architecture": "x86_64",
    "ansible_service_mgr": "systemd",
    "ansible_processor_vcpus": 16,
    "ansible_memtotal_mb": 64215,
    "ansible_machine_id": "0123456789abcdef0123456789abcdef",
    "ansible_all_ipv4_addresses": ["10.0.0.5", "172.17.0.1"],
    "ansible_all_ipv6_addresses": ["fe80::5"],
    "ansible_mounts": [
        {"mount": "/", "device": "/dev/sda1", "fstype": "ext4", "size_total": 500, "size_available": 200},
        {"mount": "/mnt/slow", "device": "nas:/x", "fstype": "nfs4"},
        {"mount": "/snap/core", "device": "/dev/loop0", "fstype": "squashfs", "size_total": 100, "size_available": 0},
    ],
}
GPUS = [
    {"vendor": "nvidia", "name": "RTX 4090", "memory_mib": 24564, "driver": "550.1", "usable": True, "why": ""},
    {"vendor": "amd", "name": "W7900", "memory_mib": None, "driver": None, "usable": False, "why": "no driver"},
]


def candidate(address: str = "10.0.0.5", **more: object) -> Candidate:
    return Candidate.model_validate({"address": address, "addresses": [address], "status": "open", **more})


def ok_event(host: str, gathered: dict[str, Any]) -> Event:
    return Event(kind="ok", time="", host=host, result={"ansible_facts": gathered})


def failed_event(host: str, message: str, kind: str = "failed") -> Event:
    return Event(kind=kind, time="", host=host, result={"msg": message})


def parse(candidates: list[Candidate], *events: Event) -> facts.GatheredFacts:
    return facts.parse_events(facts.make_targets(candidates), "artist", events)


def test_host_has_its_facts() -> None:
    gathered = parse(
        [candidate(host_key="SHA256:x")], ok_event("10.0.0.5", SETUP), ok_event("10.0.0.5", {"noslop_gpus": GPUS})
    )
    (host,) = gathered.hosts
    assert gathered.problems == []
    assert (host.name, host.address, host.port, host.user) == ("render1", "10.0.0.5", 22, "artist")
    assert (host.os, host.os_version, host.kernel, host.arch) == ("Debian", "12.5", "6.1.0-18-amd64", "x86_64")
    assert (host.cpus, host.memory_mib, host.service_manager) == (16, 64215, "systemd")
    assert host.gpus == [Gpu.model_validate(card) for card in GPUS]
    assert host.gpu_memory_mib == 24564
    assert host.disks == [
        Disk(mount="/", size_bytes=500, free_bytes=200, fstype="ext4"),
        Disk(mount="/snap/core", size_bytes=100, free_bytes=0, fstype="squashfs"),
    ]
    assert host.machine_id == "0123456789abcdef0123456789abcdef"
    assert host.addresses == ["10.0.0.5", "172.17.0.1", "fe80::5"]
    assert host.host_key == "SHA256:x"


def test_missing_facts_are_none() -> None:
    invalid = {"vendor": "nvidia", "name": "Invalid", "memory_mib": "lots", "usable": True}
    partial = {"ansible_architecture": "riscv64", "ansible_memtotal_mb": "NA", "noslop_gpus": [invalid, "nonsense"]}
    (host,) = parse([candidate()], ok_event("10.0.0.5", partial)).hosts
    assert (host.name, host.memory_mib, host.cpus, host.disks) == ("10.0.0.5", None, None, [])
    assert [(gpu.name, gpu.usable) for gpu in host.gpus] == [("Invalid", False)]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("auth_refused", "Task failed: Failed to connect to the host via ssh: a@b: Permission denied (publickey)."),
        ("auth_refused", "Invalid/incorrect password: Permission denied, please try again."),
        (
            "auth_refused",
            "Failed to connect to the host via ssh: Received disconnect: Too many authentication failures",
        ),
        ("host_key_unknown", "No ED25519 host key is known for 10.0.0.5.\nHost key verification failed."),
        (
            "host_key_changed",
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\nPermission denied",
        ),
        ("sudo_password_missing", "Task failed: Missing sudo password"),
        ("sudo_password_missing", "Module failed\nsudo: a password is required"),
        ("sudo_password_wrong", "Task failed: Incorrect sudo password"),
        ("sudo_refused", "artist is not in the sudoers file."),
        ("sudo_refused", "Sorry, user artist is not allowed to execute '/bin/sh' as root on render1."),
        ("sudo_refused", "doas: Operation not permitted"),
        ("sudo_timeout", "Timeout (12s) waiting for privilege escalation prompt: "),
        ("sudo_password_wrong", "sudo: Authentication failed, try again."),
        ("sudo_missing", "/bin/sh: 1: sudo: not found"),
        ("no_python", "The module interpreter '/no/python' was not found.\n/bin/sh: 1: /no/python: not found"),
        ("no_sshpass", "to use the 'ssh' connection type with passwords, you must install the sshpass program"),
        ("timeout", "ssh: connect to host 10.0.0.5 port 22: Connection timed out"),
        ("closed", "ssh: connect to host 10.0.0.5 port 22: Connection refused"),
        ("no_route", "ssh: connect to host 10.0.0.5 port 22: No route to host"),
        ("refused", "kex_exchange_identification: Connection closed by remote host"),
        ("name", "ssh: Could not resolve hostname render9: Name or service not known"),
        ("failed", "an unknown message\nin two lines"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_failed_login_is_a_problem(kind: str, message: str, named: bool) -> None:
    gathered = parse([candidate(named=named)], failed_event("10.0.0.5", message, "unreachable"))
    assert gathered.hosts == []
    (problem,) = gathered.problems
    assert (problem.kind, problem.host, problem.fatal) == (kind, "10.0.0.5", named)
    assert "10.0.0.5" in problem.what or kind == "no_sshpass"
    assert problem.todo


def test_failed_task_does_not_exclude_the_host() -> None:
    gathered = parse([candidate(named=True)], ok_event("10.0.0.5", SETUP), failed_event("10.0.0.5", "no lspci"))
    assert [host.name for host in gathered.hosts] == ["render1"]
    assert [(problem.host, problem.fatal) for problem in gathered.problems] == [("render1", False)]


def test_host_without_events_is_a_problem() -> None:
    gathered = parse([candidate(), candidate("10.0.0.6")], ok_event("10.0.0.5", SETUP), ok_event("localhost", SETUP))
    assert [problem.kind for problem in gathered.problems] == ["silent"]
    assert gathered.problems[0].host == "10.0.0.6"


def test_hosts_with_the_same_name_get_their_addresses_appended() -> None:
    gathered = parse([candidate(), candidate("10.0.0.6")], ok_event("10.0.0.6", SETUP), ok_event("10.0.0.5", SETUP))
    assert [host.name for host in gathered.hosts] == ["render1-10-0-0-5", "render1-10-0-0-6"]


def test_two_ports_of_one_address_are_two_hosts() -> None:
    gathered = parse(
        [candidate(port=2201), candidate(port=2202)], ok_event("10.0.0.5-2201", SETUP), ok_event("10.0.0.5-2202", SETUP)
    )
    assert [(host.name, host.port) for host in gathered.hosts] == [
        ("render1-10-0-0-5-2201", 2201),
        ("render1-10-0-0-5-2202", 2202),
    ]


@pytest.mark.parametrize("group", ["all", "ollama", "storage_server"])
def test_host_with_the_name_of_a_group_is_renamed(group: str) -> None:
    (host,) = parse([candidate()], ok_event("10.0.0.5", {**SETUP, "ansible_hostname": group})).hosts
    assert host.name == f"{group}-10-0-0-5"
    (named,) = parse([candidate(hostname=group)], ok_event(f"{group}-host", SETUP)).hosts
    assert named.name == f"{group}-host"


def test_given_name_is_kept() -> None:
    targets = facts.make_targets([candidate(hostname="10.0.0.5"), candidate("10.0.0.6")])
    same_name = {**SETUP, "ansible_hostname": "10.0.0.5"}
    gathered = facts.parse_events(targets, "artist", [ok_event("10.0.0.5", SETUP), ok_event("10.0.0.6", same_name)])
    assert [host.name for host in gathered.hosts] == ["10.0.0.5", "10.0.0.5-10-0-0-6"]


def test_machines_with_the_same_host_key_are_reported() -> None:
    merged = candidate(addresses=["10.0.0.5", "fe80::5%eth0", "10.0.0.6"])
    (problem,) = parse([merged], ok_event("10.0.0.5", SETUP)).problems
    assert (problem.kind, problem.host, problem.fatal) == ("cloned_host_key", "render1", True)
    assert problem.what.startswith("10.0.0.6 shows the same SSH host key as render1")
    single = candidate(addresses=["10.0.0.5", "172.17.0.1", "fe80::5%eth0"])
    assert parse([single], ok_event("10.0.0.5", SETUP)).problems == []
    behind_translation = candidate("192.0.2.1", addresses=["192.0.2.1", "192.0.2.2"])
    assert parse([behind_translation], ok_event("192.0.2.1", SETUP)).problems == []


def test_run_over_real_hosts_finds_each_problem(
    tmp_path: Path, sshd_server: StartSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run over a host that works, and others with one problem each."""
    if subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode:
        pytest.skip("the account that runs the tests may not use sudo without a password")
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "True")  # otherwise root's tests would not use sudo
    refusing = tmp_path / "sudo"
    refusing.write_text('#!/bin/sh\necho "$LOGNAME is not in the sudoers file." >&2\nexit 1\n', encoding="ascii")
    refusing.chmod(0o755)
    server = sshd_server("127.0.0.2")
    (scanned,) = discovery.discover(discovery.plan_discovery((), [server.host])).candidates
    known_hosts = "".join(f"[{scanned.address}]:{scanned.port} {key}\n" for key in scanned.host_keys)
    (tmp_path / "known_hosts").write_text(known_hosts, encoding="ascii")
    unknown = sshd_server("127.0.0.3")
    changes: dict[str, dict[str, object]] = {
        "fine": {},
        "no-account": {"ansible_user": "nobody-of-this-name"},
        "no-sudo": {"ansible_become_exe": str(refusing)},
        "no-python": {"ansible_python_interpreter": "/nowhere/python3"},
        "unknown-key": {"ansible_host": unknown.address, "ansible_port": unknown.port},
    }
    connection = {
        "ansible_host": scanned.address,
        "ansible_port": scanned.port,
        "ansible_user": server.user,
        "ansible_ssh_private_key_file": str(server.client_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={tmp_path}/known_hosts -o GlobalKnownHostsFile=/dev/null",
        "ansible_python_interpreter": sys.executable,
    }
    hosts = {name: {**connection, **change} for name, change in changes.items()}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    targets = [
        facts.Target(Endpoint(name=name, address=scanned.address, port=scanned.port), named=scanned.named)
        for name in changes
    ]
    events: list[Event] = []
    run_playbook("noslop.studio.facts", inventory, on_event=events.append, extra_vars={"noslop_facts_become": True})

    gathered = facts.parse_events(targets, server.user, events)
    (host,) = gathered.hosts
    uname = os.uname()
    assert (host.name, host.kernel, host.arch) == ("fine", uname.release, uname.machine)
    assert host.cpus
    assert host.memory_mib
    assert host.os
    assert {problem.host: problem.kind for problem in gathered.problems} == {
        "no-account": "auth_refused",
        "no-sudo": "sudo_refused",
        "no-python": "no_python",
        "unknown-key": "host_key_unknown",
    }
