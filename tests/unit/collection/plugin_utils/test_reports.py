# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the report of the hosts' results, also through ansible-playbook as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import NOTE, Check, Checks, shorten
from ansible_collections.noslop.studio.plugins.plugin_utils import reports

REPOSITORY = Path(__file__).parents[4]


def check(host: str, name: str, *, ok: bool = True, seen: str = "seen", share: str = "") -> Check:
    return Check(
        host=host, check=name, share=share, ok=ok, seen=seen, expected="expected", todo="" if ok else "mend it"
    )


def test_next_step_is_kept_for_failures_only() -> None:
    checks = Checks("server")
    checks.add("storage.free", True, seen="60 GB", expected="50 GB", todo="make room")
    checks.add("storage.free", False, seen="40 GB", expected="50 GB", todo="make room", share="projects")

    assert [one["todo"] for one in checks.list] == ["", "make room"]


def test_host_without_a_result_is_a_failed_check() -> None:
    checks = reports.gather(
        ["server", "worker1", "worker2", "worker3"],
        {
            "server": [{"checks": [check("server", "storage.free")]}, {"written": {}}],
            "worker1": [{"skipped": True}, {"unreachable": True, "msg": "No route\nto host"}],
            "worker2": [{"failed": True, "msg": "Missing sudo password"}],
        },
    )

    assert [(one["host"], one["check"], one["ok"]) for one in checks] == [
        ("server", "storage.free", True),
        ("worker1", "host.reachable", False),
        ("worker2", "host.answered", False),
        ("worker3", "host.answered", False),
    ]
    assert checks[1]["seen"] == "No route to host"
    assert "worker1" in checks[1]["todo"]
    assert checks[2]["seen"] == "Missing sudo password"


def test_table_has_a_line_for_each_host_and_area() -> None:
    lines = reports.summarize(
        [
            check("server", "storage.free"),
            check("server", "storage.marker"),
            check("worker1", "services.ollama_answers", ok=False),
            check("worker1", "services.comfyui_answers"),
        ]
    )

    assert lines == [
        ("  server   storage   ok, 2 checks", True),
        ("  worker1  services  1 of 2 checks failed", False),
    ]


def test_failed_check_is_formatted_with_all_fields() -> None:
    text = reports.format_check(check("worker1", "storage.units", ok=False, seen="masked", share="projects"))

    for word in ("worker1", "storage.units", "projects", "masked", "expected", "mend it"):
        assert word in text


def test_equal_checks_of_several_hosts_are_listed_once() -> None:
    checks = [check(host, "host.system", ok=False) for host in ("server", "worker1")]

    (problem,) = reports.list_problems(checks)

    assert problem.startswith("  server, worker1: host.system: seen\n")


def test_headline_names_hosts_checks_and_shares() -> None:
    checks = [check("server", "storage.free"), check("worker1", "storage.units", ok=False, share="projects")]

    assert reports.format_headline(checks) == "1 of 2 checks failed. worker1: storage.units [projects]"
    assert reports.format_headline(checks[:1]) == ""


def test_passed_notes_are_listed() -> None:
    checks = [check("server", "server.file_systems", seen=NOTE + "not its own"), check("server", "storage.free")]

    assert reports.list_notes(checks) == ["  server: server.file_systems: not its own"]


def test_foreign_text_becomes_one_short_line() -> None:
    assert shorten("a\nb\t c") == "a b c"
    assert len(shorten("x" * 1000)) == 200


VERIFICATION = {"stage": "verification"}


def play(
    tmp_path: Path, hosts: dict[str, Any], *arguments: str, options: dict[str, Any] | None = None
) -> tuple[int, str, dict[str, Any]]:
    """Run the action on the controller, with results as hosts would register them."""
    inventory, playbook, report = tmp_path / "hosts.yml", tmp_path / "play.yml", tmp_path / "out" / "report.json"
    (tmp_path / "ansible.cfg").touch()
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    action = {"hosts": list(hosts), "studio_id": "atelier", "path": str(report), **(options or VERIFICATION)}
    tasks = [
        {"noslop.studio.check_report": action, "register": "result"},
        {
            "ansible.builtin.assert": {
                "that": "result.noslop_report.ok",
                "fail_msg": "{{ result.headline }}",
            }
        },
    ]
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / "collections"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook, *arguments],
        env={**environment, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")},
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, json.loads(report.read_text())


@pytest.fixture
def broken() -> dict[str, Any]:
    masked = check("worker1", "storage.units", ok=False, seen="masked", share="projects")
    return {
        "server": {"studio_verify_result": {"checks": [check("server", "storage.free")]}},
        "worker1": {"studio_verify_result": {"checks": [check("worker1", "storage.free"), masked]}},
        "worker2": {"__studio_verify_written": {"unreachable": True, "msg": "Connection timed out"}},
    }


def test_report_of_a_broken_studio(tmp_path: Path, broken: dict[str, Any]) -> None:
    code, output, report = play(tmp_path, broken)

    assert code == 2
    assert not report["ok"]
    assert report["studio_id"] == "atelier"
    assert [(one["host"], one["check"]) for one in report["checks"] if not one["ok"]] == [
        ("worker1", "storage.units"),
        ("worker2", "host.reachable"),
    ]
    assert "worker1: storage.units, share projects" in output
    assert "Connection timed out" in output
    assert "server: storage.free" not in output


def test_report_of_a_working_studio(tmp_path: Path, broken: dict[str, Any]) -> None:
    code, output, report = play(tmp_path, {"server": broken["server"]}, "-v")

    assert code == 0
    assert report["ok"]
    assert "ok, 1 check" in output
    assert "server  storage.free: seen" in output


def test_check_mode_reports_a_host_without_deployment_in_one_line(tmp_path: Path, broken: dict[str, Any]) -> None:
    bare = broken["worker1"]["studio_verify_result"] | {"deployed": False}

    _, output, report = play(tmp_path, {"worker1": {"studio_verify_result": bare}}, "--check")

    assert [(one["check"], one["seen"]) for one in report["checks"]] == [("host.deployed", "not deployed yet")]
    assert "not deployed yet" in output


def test_preflight_report_has_the_checks_of_the_studio_and_of_its_hosts(tmp_path: Path) -> None:
    now = time.time()
    hosts: dict[str, Any] = {
        name: {
            "ansible_host": address,
            "studio_preflight_result": {
                "checks": [check(name, "host.system")],
                "paths": ["/mnt/noslop/projects"],
                "unknown_users": [],
                "identity": {"machine_id": "1", "hostname": name, "addresses": [address], "epoch": now},
            },
        }
        for name, address in (("server", "10.0.0.1"), ("worker1", "10.0.0.2"))
    }
    hosts["worker2"] = {"ansible_host": "10.0.0.3"}
    options = {"stage": "preflight", "servers": ["server"], "clients": ["worker1", "worker2"], "asked": now}

    code, output, report = play(tmp_path, hosts, options=options)

    assert code == 2
    assert [one["check"] for one in report["checks"] if not one["ok"]] == ["studio.machine_ids", "host.answered"]
    assert "worker1: studio.machine_ids" in output
    assert {"studio.id", "studio.server", "studio.variables"} <= {one["check"] for one in report["checks"]}


@pytest.mark.parametrize(
    ("result", "handed_over"),
    [
        ({reports.KEY: {"version": reports.VERSION, "checks": []}}, True),
        ({reports.KEY: {"version": reports.VERSION + 1, "checks": []}}, False),
        ({reports.KEY: "text"}, False),
        ({"report": {"version": reports.VERSION, "checks": []}}, False),
        ({}, False),
    ],
)
def test_report_is_read_from_its_declared_key_only(result: dict[str, Any], handed_over: bool) -> None:
    assert (reports.read_report(result) is not None) == handed_over
