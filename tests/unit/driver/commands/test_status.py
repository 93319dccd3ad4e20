# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that `status` asks each host over a real SSH server, about stand-ins of its services, and leaves none out."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noslop_driver.ansible.events import HostStats, Outcome, Status
from noslop_driver.records import Record
from noslop_driver.secrets import Secrets
from tests.support.driver_cli import run, run_json, spawn_on_terminal
from tests.support.service_standin import QUEUE, StandIn, standing_in
from tests.support.ssh_studio import SshStudio
from tests.support.sshd import fake_sudo, with_path
from tests.unit.conftest import StartSshd


@pytest.fixture
def comfyui() -> Iterator[StandIn]:
    """Return a stand-in for ComfyUI with jobs."""
    with standing_in({"/queue": QUEUE}) as server:
        yield server


def make_studio(path: Path, sshd_server: StartSshd, **variables: object) -> SshStudio:
    """Return a studio whose server and worker answer, and whose worker2 is away."""
    studio = SshStudio(path / "studio", {"server": sshd_server("127.0.0.2"), "worker": sshd_server("127.0.0.3")})
    file = studio.directory.path / "group_vars/all/more.yml"
    file.write_text(json.dumps({"noslop_storage_root": str(path / "nothing"), **variables}), encoding="utf-8")
    return studio


def by_host(output: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {host["host"]: host for host in output["now"]}


@pytest.mark.slow
def test_hosts_that_answer_are_shown_beside_one_that_is_away(
    tmp_path: Path, sshd_server: StartSshd, comfyui: StandIn
) -> None:
    studio = make_studio(tmp_path, sshd_server, comfyui_port=comfyui.server_port)
    record = Record(studio.directory.records, "deploy", Secrets())
    stats = {"worker2": HostStats(ok=3), "worker": HostStats(unreachable=1)}
    record.add_phase("services", Outcome(Status.OK, 0, stats=stats), 1.0)
    record.finish(0, "", "0.0.9")

    output, done = run_json("status", "--inventory", str(studio.directory.path))

    assert done.returncode == 4
    assert output["error"].startswith("worker2 could not be asked")
    hosts = by_host(output)
    assert [host["up"] for host in hosts.values()] == [True, True, False]
    assert "nothing listens on port 1" in hosts["worker2"]["reason"]
    assert hosts["worker2"]["last_answer"] == output["last_deployment"]["finished"]
    assert hosts["worker"]["last_answer"] is None
    (service,) = hosts["worker"]["state"]["services"]
    assert (service["service"], service["running"], service["waiting"]) == ("comfyui", 1, 2)
    assert hosts["server"]["state"]["services"] == []
    assert hosts["server"]["state"]["room"][0]["name"] == "/"
    assert "ComfyUI (not installed): jobs: 1 running, 2 waiting" in done.stderr
    assert f"last seen: {hosts['worker2']['last_answer']}" in done.stderr
    assert output["noslop_version"] == "0.0.9"
    assert "last deploy by NoSlop 0.0.9; this is " in done.stderr


def test_records_are_shown_without_a_connection(tmp_path: Path, sshd_server: StartSshd) -> None:
    studio = make_studio(tmp_path, sshd_server)
    output, done = run_json("status", "--inventory", str(studio.directory.path), "--cached")
    assert (done.returncode, output["now"]) == (0, [])
    assert [host["name"] for host in output["hosts"]] == ["server", "worker", "worker2"]
    for server in studio.servers.values():
        assert not any("publickey" in line for line in server.complete_log())


@pytest.mark.slow
@pytest.mark.long
def test_host_that_stays_silent_before_or_after_the_login_is_given_up(tmp_path: Path, sshd_server: StartSshd) -> None:
    hanging = sshd_server("127.0.0.3", options=["ForceCommand tail -f /dev/null"])
    studio = SshStudio(tmp_path / "studio", {"server": sshd_server("127.0.0.2"), "worker": hanging})
    with socket.create_server(("127.0.0.4", 0)) as silent:
        hosts = studio.hosts.replace("ansible_port: 1\n", f"ansible_port: {silent.getsockname()[1]}\n")
        hosts = hosts.replace("127.9.9.1", "127.0.0.4")
        (studio.directory.path / "hosts.yml").write_text(hosts, encoding="utf-8")
        output, done = run_json("status", "--inventory", str(studio.directory.path))
    assert done.returncode == 4
    answers = by_host(output)
    for name in ("worker", "worker2"):
        assert not answers[name]["up"]
        assert "did not answer in time" in answers[name]["reason"]
    assert answers["server"]["state"]


@pytest.mark.slow
@pytest.mark.long
def test_sudo_password_is_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sshd_server: StartSshd
) -> None:
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "True")  # otherwise root does not use sudo
    passwords = fake_sudo(tmp_path / "bin", accepts="secret word")
    options = [with_path(tmp_path / "bin")]
    servers = {
        name: sshd_server(f"127.0.0.{number}", options=options)
        for number, name in enumerate(("server", "worker", "worker2"), 2)
    }
    studio = SshStudio(tmp_path / "studio", servers)
    words = ["status", "--inventory", str(studio.directory.path)]
    done = run(*words)
    assert done.returncode == 4
    assert "server: up, but it cannot be asked. sudo on server" in done.stdout
    child = spawn_on_terminal(*words)
    child.expect("sudo needs a password on server, worker, worker2")
    child.expect("sudo password: ")
    child.sendline("secret word")
    child.expect("server: up")
    child.expect("worker2: up")
    child.wait()
    child.close()
    assert child.exitstatus == 0
    assert set(passwords.read_text(encoding="utf-8").splitlines()) == {"secret word"}
