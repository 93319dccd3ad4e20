# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a host is drained only when nothing runs: a real queue, real connections, and a systemctl that logs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.comfyui_server import ComfyUI, serving_comfyui
from tests.support.plays import local_inventory

ROOT = Path(__file__).parents[4]
SYSTEMCTL = r"""#!/bin/sh
# Reports that every unit runs, and logs what starts and stops.
case "$*" in
    *stop*|*start*) echo "$*" >> {log} ;;
    *show*) printf 'Id=a.service\nLoadState=loaded\nActiveState={state}\nUnitFileState=enabled\n' ;;
esac
"""
JOB = [0, "id", {}, {}, []]

pytestmark = pytest.mark.slow


class DrainedHost:
    """This computer as a host that runs ComfyUI and Ollama."""

    def __init__(self, directory: Path, comfyui: ComfyUI, listener: socket.socket) -> None:
        self.comfyui, self.listener = comfyui, listener
        self.log = directory / "systemctl.log"
        self.log.touch()
        self.programs = directory / "programs"
        self.programs.mkdir()
        self.set_state("active")
        self.inventory = local_inventory(
            directory / "inventory",
            ["one"],
            ansible_become=False,
            noslop_studio_id="abc",
            comfyui_port=comfyui.port,
            comfyui_listen_address="127.0.0.1",
            ollama_port=listener.getsockname()[1],
        )
        groups = {"comfyui": {"hosts": {"one": None}}, "ollama": {"hosts": {"one": None}}}
        (self.inventory / "groups.yml").write_text(json.dumps(groups), encoding="utf-8")

    def set_state(self, state: str) -> None:
        program = self.programs / "systemctl"
        program.write_text(SYSTEMCTL.format(log=self.log, state=state), encoding="ascii")
        program.chmod(0o755)

    def drain(self, state: str = "stopped", timeout_s: int = 1) -> tuple[int, str]:
        """Run the playbook. Return its exit code and its output."""
        program = Path(sys.executable).with_name("ansible-playbook")
        variables = (f"noslop_drain_state={state}", f"noslop_drain_timeout={timeout_s}", "ansible_become=false")
        words = [word for variable in variables for word in ("-e", variable)]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{self.programs}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [program, "-i", self.inventory, ROOT / "playbooks/drain.yml", *words],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def read_actions(self) -> list[str]:
        return [line.split()[0] for line in self.log.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[DrainedHost]:
    with serving_comfyui(tmp_path) as comfyui, socket.create_server(("127.0.0.1", 0)) as listener:
        comfyui.answers["/queue"] = (200, {"queue_running": [], "queue_pending": []})
        yield DrainedHost(tmp_path, comfyui, listener)


def test_services_without_work_are_stopped_and_started_again(host: DrainedHost) -> None:
    code, output = host.drain()
    assert code == 0, output
    assert host.read_actions() == ["stop", "stop"]
    assert "/queue" in host.comfyui.requests
    host.set_state("inactive")
    code, output = host.drain("started")
    assert code == 0, output
    assert host.read_actions() == ["stop", "stop", "start", "start"]


@pytest.mark.parametrize("kind", ["queue_running", pytest.param("queue_pending", marks=pytest.mark.long)])
def test_job_in_the_queue_keeps_every_service(host: DrainedHost, kind: str) -> None:
    host.comfyui.answers["/queue"] = (200, {"queue_running": [], "queue_pending": [], kind: [JOB]})
    code, output = host.drain()
    assert code == 2
    assert "ComfyUI on one still has 1 jobs after 1 s. Nothing was stopped." in " ".join(output.split())
    assert host.read_actions() == []


@pytest.mark.long
def test_queue_that_cannot_be_read_is_not_empty(host: DrainedHost) -> None:
    host.comfyui.answers["/queue"] = (500, {})
    code, output = host.drain()
    assert code == 2
    assert "an unknown number of jobs" in " ".join(output.split())
    assert host.read_actions() == []


@pytest.mark.long
def test_connection_to_ollama_keeps_it(host: DrainedHost) -> None:
    with socket.create_connection(host.listener.getsockname()) as client:
        code, output = host.drain()
        assert code == 2
        assert "Ollama on one still has open connections after 1 s, and was not stopped" in " ".join(output.split())
        assert host.read_actions() == ["stop"], "ComfyUI, which had nothing to do"
        assert client.fileno() > 0


def test_service_that_does_not_run_has_no_work(host: DrainedHost) -> None:
    host.set_state("inactive")
    host.comfyui.answers["/queue"] = (500, {})
    code, output = host.drain()
    assert code == 0, output
    assert host.read_actions() == []
