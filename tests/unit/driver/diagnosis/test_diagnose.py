# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the causes that are recognised, each from the state of hosts with one planted fault."""

from __future__ import annotations

import pytest

from noslop_driver.diagnosis.cause import Cause, Layer, PlaybookStep, RemountStep, UnitState, UnitStep
from noslop_driver.diagnosis.diagnose import diagnose, works
from tests.support.doctor_cases import (
    AUTOMOUNT,
    MOUNT,
    PROJECTS,
    SHARES,
    Planted,
    make_case,
    make_check,
    make_healthy,
    make_unit,
)
from tests.support.doctor_faults import (
    AWAY,
    BACKEND,
    COMFYUI,
    DROP,
    FAULTS,
    NFS,
    OLLAMA,
    STOPPED,
    TIMEOUT,
    UNANSWERED,
    WORKERS,
    both,
    disk,
    part,
    unit,
)

DATABASE = "database: The database does not work now (database_unavailable)."
LINES = {
    "read-only": (
        "psycopg: cannot execute INSERT in a read-only transaction",
        "database_read_only",
        "default_transaction",
    ),
    "locked": ("psycopg.errors.LockNotAvailable: canceling: lock timeout", "database_locked", "pg_stat_activity"),
    "locked file": ("health: the database: database is locked", "database_locked", "fuser -v FILE"),
    "read-only file": ("sqlite3: attempt to write a readonly database", "database_read_only", "see its owner and mode"),
    "full": ("psycopg.errors.DiskFull: No space left on device", "database_full", "make room"),
    "away": (
        "psycopg.OperationalError: connection failed: refused",
        "database_unreachable",
        "systemctl restart postgresql",
    ),
    "unnamed": ("GET / 200", "database", "systemctl restart postgresql"),
}


def only(causes: list[Cause]) -> Cause:
    (cause,) = causes
    return cause


@pytest.mark.parametrize("name", FAULTS)
def test_fault_has_one_cause_with_what_mends_it(name: str) -> None:
    fault = FAULTS[name]
    cause = only(diagnose(make_case(fault.plant, fault.failed)))

    assert (cause.kind, cause.host) == (fault.kind, fault.host)
    assert fault.command in cause.remedy.command
    assert (cause.remedy.risk, cause.remedy.safe) == (fault.risk, fault.safe)
    assert [*cause.consequences] == [*fault.failed]
    assert (cause.layer is Layer.LATER) == (fault.layer is Layer.LATER)
    assert cause.what
    assert cause.evidence
    assert works([cause]) is (fault.layer is Layer.LATER)


@pytest.mark.parametrize("name", LINES)
def test_database_is_named_with_its_reason(name: str) -> None:
    line, kind, command = LINES[name]
    failed = [make_check("server", "services.backend_ready", DATABASE)]
    cause = only(diagnose(make_case(unit("server", BACKEND, journal=["started", line]), failed)))

    assert cause.kind == f"backend.{kind}"
    assert command in cause.remedy.command
    assert [*cause.consequences] == failed


def test_healthy_studio_has_no_cause() -> None:
    assert diagnose(make_case()) == []
    assert works([])


@pytest.mark.parametrize(
    ("message", "kind", "command"),
    [
        ("sudo: a password is required", "host.sudo_password_missing", "--ask-become-pass"),
        ("artist is not in the sudoers file", "host.sudo_refused", "usermod -aG sudo artist"),
        ("sudo: command not found", "host.sudo_missing", "apt install sudo"),
        ("ssh: connect to host 10.0.0.2 port 22: Connection timed out", "host.unreachable", "switched on"),
    ],
)
def test_login_that_fails_is_the_cause_of_all_that_the_host_lacks(message: str, kind: str, command: str) -> None:
    check = "host.answered" if "sudo" in kind else "host.reachable"
    failed = [
        make_check("worker1", check, message),
        make_check("worker2", "storage.shared", "from worker1: nothing", "projects"),
        make_check("worker2", "services.ollama_peers", "worker1: timed out"),
    ]

    def plant(evidence: Planted) -> None:
        del evidence["worker1"]

    cause = only(diagnose(make_case(plant, failed)))

    assert (cause.kind, cause.host, len(cause.consequences)) == (kind, "worker1", 3)
    assert command in cause.remedy.command


def test_server_that_is_off_is_reported_once_and_first() -> None:
    def plant(evidence: Planted) -> None:
        del evidence["server"]
        for name in WORKERS:
            evidence[name]["way"].update(nfs="unreachable", ssh="unreachable", route="x")

    failed = [make_check("server", "host.reachable", "Connection timed out"), *AWAY]
    failed += [
        make_check(host, "storage.mounted", "no answer within 5 s", share.name) for host in WORKERS for share in SHARES
    ]
    cause = only(diagnose(make_case(plant, failed)))

    assert (cause.kind, cause.host, len(cause.consequences)) == ("host.unreachable", "server", 13)


def test_full_disk_is_reported_once_as_the_disk_of_the_server() -> None:
    failed = [
        make_check(host, check, "No space left on device", share.name)
        for host in ("server", *WORKERS)
        for check in ("storage.written", "storage.free")
        for share in SHARES
    ]
    cause = only(diagnose(make_case(disk(free_bytes=4096), failed)))
    assert (cause.host, len(cause.consequences)) == ("server", 30)


def test_stopped_server_explains_what_workers_lack_and_comes_before_other_faults() -> None:
    plant = both(unit("server", NFS, active="inactive"), unit("worker1", OLLAMA, active="failed"))
    failed = [*AWAY, STOPPED, make_check("worker2", "storage.shared", "nothing", "projects")]
    first, second = diagnose(make_case(plant, failed))

    assert (first.kind, first.host) == ("unit.stopped", "server")
    assert (second.kind, second.host) == ("unit.failed", "worker1")


def test_fault_that_makes_a_check_fail_is_urgent_though_it_hurts_at_the_next_start_only() -> None:
    failed = [make_check("server", "host.files", "/etc/exports.d/noslop.exports was changed")]
    cause = only(diagnose(make_case(FAULTS["emptied exports file"].plant, failed)))
    assert (cause.layer, cause.urgent, works([cause])) == (Layer.LATER, True, False)


def test_checks_that_did_not_end_belong_to_what_delayed_them() -> None:
    failed = [make_check("worker1", "host.checks", "the checks of its services: no answer within 30 s")]
    assert [*only(diagnose(make_case(FAULTS["process stopped by a signal"].plant, failed))).consequences] == failed
    first, second = diagnose(make_case(unit("worker2", OLLAMA, active="failed"), failed))
    assert (first.kind, second.kind) == ("unit.failed", "unrecognised")


def test_second_listener_beside_the_service_is_no_conflict() -> None:
    def plant(evidence: Planted) -> None:
        evidence["worker1"]["ports"]["ollama"]["listeners"].append({"pid": 5, "command": "proxy", "unit": ""})

    failed = [make_check("worker1", "services.ollama_models", "does not list x")]
    assert only(diagnose(make_case(plant, failed))).kind == "unrecognised"


def test_two_faults_of_different_hosts_keep_their_own_checks() -> None:
    plant = both(unit("worker1", OLLAMA, state="T"), unit("worker2", COMFYUI, load="masked", active="inactive"))
    masked = make_check("worker2", "services.comfyui_unit")
    causes = {cause.host: cause for cause in diagnose(make_case(plant, [UNANSWERED, masked]))}

    assert [*causes["worker1"].consequences] == [UNANSWERED]
    assert [*causes["worker2"].consequences] == [masked]


def test_failed_check_without_a_recognised_cause_keeps_its_next_step_and_is_reported_once_for_all_hosts() -> None:
    failed = [make_check(host, "storage.block_size", "rsize=4096", "projects") for host in WORKERS]
    cause = only(diagnose(make_case(failed=failed)))

    assert (cause.kind, cause.host, cause.recognised) == ("unrecognised", "worker1, worker2", False)
    assert cause.remedy.command == "look"
    assert not cause.remedy.fixable
    assert [*cause.consequences] == failed


def test_only_what_a_host_has_by_its_roles_becomes_a_step() -> None:
    def plant(evidence: Planted) -> None:
        evidence["worker1"]["units"]["ssh.service"] = make_unit(active="failed")
        evidence["worker1"]["units"][BACKEND] = make_unit(active="failed")
        evidence["worker1"]["units"][NFS] = make_unit(active="failed")
        evidence["worker1"]["failed_units"] = ["noslop-x; rm -rf /.service", "ssh.service"]
        evidence["worker1"]["failed_imports"] = ["/x/custom_nodes/a; reboot"]
        evidence["worker1"]["exports"] = {"written": [], "exported": []}
        evidence["worker1"]["trees"] = {"projects": {"path": "/etc", "count": 9}}

    assert diagnose(make_case(plant)) == []


def test_text_of_a_host_is_quoted_in_commands() -> None:
    drop = {**DROP, "chain": "output; reboot"}
    plant = both(part("worker1", "way", **TIMEOUT), part("worker1", "firewall", drops=[drop]))
    assert "reboot" not in only(diagnose(make_case(plant, AWAY[:1]))).remedy.command
    drop_in = unit("worker1", OLLAMA, drop_ins=["/etc/systemd/x; reboot"])
    assert "rm '/etc/systemd/x; reboot' &&" in only(diagnose(make_case(drop_in))).remedy.command


def test_steps_name_the_units_and_paths_that_are_mended() -> None:
    def steps(name: str) -> list[object]:
        return list(only(diagnose(make_case(FAULTS[name].plant, FAULTS[name].failed))).remedy.steps)

    assert steps("masked service") == [
        UnitStep(OLLAMA, state) for state in (UnitState.UNMASKED, UnitState.ENABLED, UnitState.STARTED)
    ]
    assert steps("automount stopped while its mount stays") == [
        UnitStep(MOUNT, UnitState.STOPPED),
        UnitStep(AUTOMOUNT, UnitState.ENABLED),
        UnitStep(AUTOMOUNT, UnitState.STARTED),
    ]
    assert steps("read-only remount") == [RemountStep(PROJECTS)]
    assert steps("emptied exports file") == [PlaybookStep("storage")]


def test_share_that_only_the_server_writes_may_be_mounted_read_only() -> None:
    def plant(evidence: Planted) -> None:
        evidence["worker1"]["mounts"]["comfyui_custom_nodes"]["read_only"] = True

    assert diagnose(make_case(plant)) == []


def test_studio_of_one_computer_has_no_way_to_a_server() -> None:
    def plant(evidence: Planted) -> None:
        for name in WORKERS:
            del evidence[name]
        evidence["server"].pop("exports")

    assert diagnose(make_case(plant, provider="local")) == []
    assert set(make_healthy()) == {"server", *WORKERS}
