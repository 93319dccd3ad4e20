# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that `open` starts the user's browser, and says how to get to a service that does not answer."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from noslop_driver.commands.open import has_display, select_address
from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import Member
from tests.support.driver_cli import run, run_json, spawn_on_terminal
from tests.support.service_standin import StandIn, standing_in
from tests.support.ssh_studio import SshStudio
from tests.support.waiting import wait_until
from tests.unit.conftest import StartSshd

DISPLAYS = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")


@pytest.fixture(autouse=True)
def _no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def comfyui() -> Iterator[StandIn]:
    """Return a stand-in for ComfyUI."""
    with standing_in({"/system_stats": {"system": {"comfyui_version": "0.33.0"}}}) as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, sshd_server: StartSshd, comfyui: StandIn) -> SshStudio:
    studio = SshStudio(tmp_path / "the studio", {"worker": sshd_server("127.0.0.1")})
    more = studio.directory.path / "group_vars/all/more.yml"
    more.write_text(json.dumps({"comfyui_port": comfyui.server_port}), encoding="utf-8")
    return studio


def make_member(name: str, *groups: str) -> Member:
    return Member(name, f"10.0.0.{len(name)}", 22, "artist", frozenset(groups), {})


MEMBERS = [
    make_member("server", "storage_server", "backend", "ollama"),
    make_member("worker", "comfyui", "ollama"),
    make_member("ollama", "comfyui"),
]


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ((), ("worker", "comfyui")),
        (("server",), ("server", "ollama")),
        (("worker", "ollama"), ("worker", "ollama")),
        (("backend",), ("server", "backend")),
        (("server", "backend"), ("server", "backend")),
        (("backend", "server"), ("server", "backend")),
        (("ollama",), ("ollama", "comfyui")),
    ],
)
def test_words_mean_a_host_and_a_service(words: tuple[str, ...], place: tuple[str, str]) -> None:
    address = select_address(words, MEMBERS)
    assert (address["host"], address["service"]) == place


@pytest.mark.parametrize("words", [("films",), ("server", "comfyui"), ("server", "worker"), ("comfyui", "backend")])
def test_other_words_are_usage_errors_that_list_the_services(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"This studio has: worker comfyui, .*server backend"):
        select_address(words, MEMBERS)


@pytest.mark.parametrize(
    ("environment", "platform", "answer"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"BROWSER": "firefox"}, "linux", True),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, "darwin", False),
    ],
)
def test_display_is_one_that_a_browser_can_use(environment: dict[str, str], platform: str, answer: bool) -> None:
    assert has_display(environment, platform) is answer


def test_address_is_printed_without_a_display(studio: SshStudio, comfyui: StandIn) -> None:
    output, done = run_json("open", "--inventory", str(studio.directory.path))
    assert done.returncode == 0
    assert (output["url"], output["answers"], output["opened"]) == (
        f"http://127.0.0.1:{comfyui.server_port}",
        True,
        False,
    )
    assert "There is no display here" in done.stderr
    assert comfyui.requests == ["/system_stats"]


def test_browser_of_the_user_is_started(
    studio: SshStudio, comfyui: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "browser"
    program.write_text(
        f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened.part && mv {tmp_path}/opened.part {tmp_path}/opened\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    child = spawn_on_terminal("open", "worker", "comfyui", "--inventory", str(studio.directory.path))
    child.wait()
    child.close()
    assert child.exitstatus == 0
    wait_until((tmp_path / "opened").exists)
    assert (tmp_path / "opened").read_text() == f"http://127.0.0.1:{comfyui.server_port}"


def test_command_that_is_printed_gets_to_a_service_on_its_own_host(studio: SshStudio, comfyui: StandIn) -> None:
    # In the studio the host has an address at which nothing listens on that port.
    hosts = studio.hosts.replace("noslop_address: 127.0.0.1", "noslop_address: 127.0.0.77")
    (studio.directory.path / "hosts.yml").write_text(hosts, encoding="utf-8")
    output, done = run_json("open", "--inventory", str(studio.directory.path))
    assert done.returncode == 4
    assert output["reason"].startswith(f"Nothing listens on 127.0.0.77:{comfyui.server_port} for this computer")
    assert output["tunnel"] in done.stderr
    words = shlex.split(output["tunnel"])
    local_port = int(words[words.index("-L") + 1].split(":")[0])
    assert f"Then open http://127.0.0.1:{local_port}" in done.stderr
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    with subprocess.Popen([words[0], *options, *words[1:]], stdin=subprocess.DEVNULL) as tunnel:
        try:
            wait_until(lambda: _connects(local_port))
            with socket.create_connection(("127.0.0.1", local_port)) as connection:
                connection.sendall(b"GET /system_stats HTTP/1.0\r\n\r\n")
                assert b"200 OK" in connection.recv(100)
        finally:
            tunnel.terminate()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_other_program_on_the_port_is_named(studio: SshStudio, comfyui: StandIn) -> None:
    comfyui.answers = {}
    done = run("open", "--inventory", str(studio.directory.path))
    assert done.returncode == 4
    assert "answers, and not as ComfyUI does" in done.stderr
